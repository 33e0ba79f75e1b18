//go:build unix && !linux

package proc

// awaitStopped takes the signal's word for it.
func awaitStopped(int) bool { return true }

// isStopped cannot tell.
func isStopped(int) bool { return false }
