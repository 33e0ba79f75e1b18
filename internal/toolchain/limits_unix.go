//go:build unix

package toolchain

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes is the space for this user in the file system of dir.
func freeBytes(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "look at the space in", Path: dir, Err: err}
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil //nolint:gosec,unconvert // their types differ between systems
}

// openFileLimit is how many files a process may open. Go raises it to the hard limit at its start.
func openFileLimit() (uint64, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, os.NewSyscallError("read the limit of open files", err)
	}
	return uint64(r.Cur), nil //nolint:unconvert // its type differs between systems
}
