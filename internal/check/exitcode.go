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
	exitSIGHUP         = 129
	exitSIGINT         = 130
	exitSIGTERM        = 143
)

// ExitCode is the process's exit code for a judged run: 0 pass, 1 a check failed, 3 environment, 4 inconclusive, 5 halted,
// 6 rollback failed (over all others), 129, 130 or 143 ended by a signal. An unknown verdict is 4.
func ExitCode(r Result, m record.Manifest) int {
	switch {
	case r.Rollback.Verdict == Fail || r.Rollback.Verdict == Error:
		return exitRollbackFailed
	case m.Signal == "SIGINT":
		return exitSIGINT
	case m.Signal == "SIGTERM":
		return exitSIGTERM
	case m.Signal == "SIGHUP":
		return exitSIGHUP
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
