package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"squall/internal/check"
	"squall/internal/run"
)

// The exit codes. Those of a judged run are check.ExitCode's.
const (
	exitPass         = 0
	exitFail         = 1
	exitUsage        = 2
	exitEnvironment  = 3
	exitInconclusive = 4
	exitHalted       = 5
	exitRollback     = 6
	exitSIGHUP       = 129
	exitSIGINT       = 130
	exitSIGTERM      = 143
)

// exitCode is an exit code and what it means.
type exitCode struct {
	code    int
	meaning string
}

// exitCodes is the table of exit codes, the worst first: of several runs the worst one decides.
func exitCodes() []exitCode {
	return []exitCode{
		{exitRollback, "the rollback failed: what was there before is not back"},
		{exitSIGINT, "interrupted by SIGINT, after the rollback"},
		{exitSIGTERM, "interrupted by SIGTERM, after the rollback"},
		{exitSIGHUP, "interrupted by SIGHUP, as of a terminal that was closed, after the rollback"},
		{exitUsage, "a wrong command line or an invalid scenario: nothing was started"},
		{exitEnvironment, "the machine, the mesh or the record failed: the verdict is ERROR, or there is none"},
		{exitHalted, "a halt condition broke the run off: HALTED"},
		{exitFail, "a check failed: FAIL"},
		{exitInconclusive, "nothing was shown, for or against: INCONCLUSIVE"},
		{exitPass, "pass, or done"},
	}
}

// exitCodesText is the table for the help, by code.
func exitCodesText() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	table := exitCodes()
	slices.SortFunc(table, func(x, y exitCode) int { return x.code - y.code })
	for _, c := range table {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.meaning)
	}
	return strings.TrimRight(b.String(), "\n")
}

// worst is the exit code of several together. A code that is not in the table is worse than all that are.
func worst(codes ...int) int {
	table := exitCodes()
	rank := func(code int) int { return slices.IndexFunc(table, func(c exitCode) bool { return c.code == code }) }
	out := exitPass
	for _, c := range codes {
		if rank(c) < rank(out) {
			out = c
		}
	}
	return out
}

// codeError is an exit code with the reason, which is nil when the reason was printed already.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *codeError) Unwrap() error { return e.err }

// invalid is what the author or the caller got wrong.
func invalid(err error) error { return &codeError{exitUsage, err} }

// environment is what the machine or the cluster lacks.
func environment(err error) error { return &codeError{exitEnvironment, err} }

// ended is the code of something that was printed already; 0 is no error.
func ended(code int) error {
	if code == exitPass {
		return nil
	}
	return &codeError{code: code}
}

// code is the exit code for the error of a command.
func (a *app) code(ctx context.Context, err error) int {
	code := exitUsage // cobra's own errors: unknown command, flag or argument
	var known *codeError
	switch {
	case errors.As(err, &known):
		code = known.code
	case a.started:
		code = exitEnvironment // stdout could not be written, or a folder not be read
	}
	if code == exitEnvironment {
		return signalCode(ctx, code)
	}
	return code
}

// signalCode is the exit code of the signal that ended ctx, or else when none did.
func signalCode(ctx context.Context, otherwise int) int {
	var signal *run.SignalError
	if !errors.As(context.Cause(ctx), &signal) {
		return otherwise
	}
	if code, ok := check.SignalCode(signal.Name); ok {
		return code
	}
	return otherwise
}

// bySignal says whether an exit code is that of something that a signal ended.
func bySignal(code int) bool { return code == exitSIGHUP || code == exitSIGINT || code == exitSIGTERM }
