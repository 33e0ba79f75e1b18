package check

import "squall/internal/record"

// The exit codes.
const (
	exitPass           = 0
	exitFail           = 1
	exitEnvironment    = 3
	exitInconclusive   = 4
	exitHalted         = 5
	exitRollbackFailed = 6
)

// ExitCode is the process's exit code for a judged run: 0 pass, 1 a check failed, 3 environment, 4 inconclusive, 5 halted,
// 6 rollback failed (over all others), 129, 130 or 143 ended by a signal. An unknown verdict is 4.
func ExitCode(r Result, m record.Manifest) int {
	if r.Rollback.Verdict == Fail || r.Rollback.Verdict == Error {
		return exitRollbackFailed
	}
	if code, ok := SignalCode(m.Signal); ok {
		return code
	}
	switch r.Verdict {
	case Pass:
		return exitPass
	case Fail:
		return exitFail
	case Error:
		return exitEnvironment
	case Halted:
		return exitHalted
	default:
		return exitInconclusive
	}
}

// SignalCode is the exit code of what the signal of that name ended, as shells have it; ok is false for a name that ends no run.
func SignalCode(name string) (code int, ok bool) {
	code, ok = map[string]int{"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143}[name]
	return code, ok
}
