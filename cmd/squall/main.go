// Command squall runs chaos and load test scenarios against an Istio mesh and says, with evidence, whether they hold.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"squall/internal/run"
	"squall/internal/scenario"
)

// The exit codes that no verdict gives. The others are check.ExitCode's.
const (
	exitUsage       = 2
	exitEnvironment = 3
)

func main() {
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signals(context.Background(), stderr)
	defer stop()
	app := &app{stdout: stdout, stderr: stderr}
	root := app.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var code *codeError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		if code.err != nil {
			fmt.Fprintln(stderr, "squall: "+code.err.Error())
		}
		return code.code
	default: // cobra's own: unknown command, flag or argument
		fmt.Fprintln(stderr, "squall: "+err.Error())
		return exitUsage
	}
}

// signals ends the context at the first SIGINT or SIGTERM, so that the run rolls back. The second one ends the process.
func signals(parent context.Context, stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	go func() {
		var first os.Signal
		for s := range ch {
			name := map[os.Signal]string{os.Interrupt: "SIGINT", syscall.SIGTERM: "SIGTERM"}[s]
			if first == nil {
				first = s
				fmt.Fprintf(stderr, "squall: %s: rolling back; once more to quit at once\n", name)
				cancel(&run.SignalError{Name: name})
				continue
			}
			fmt.Fprintln(stderr, "squall: quit before the rollback was done: 'squall rollback' finishes it")
			os.Exit(128 + int(s.(syscall.Signal)))
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(ch)
		cancel(nil)
	}
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

// app is one command line.
type app struct {
	stdout, stderr io.Writer
	scenarios      string // folder
	fixtures       string // folder
	reports        string // folder
}

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:           "squall",
		Short:         "Chaos and load tests for Istio meshes, with evidence",
		Long:          "Squall deploys an application on a real Istio mesh, applies faults and policies, drives load and judges the outcome.\nA run passes only if its fault is proven, its samples suffice and its rollback is verified.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := c.PersistentFlags()
	f.StringVar(&a.scenarios, "scenarios", "scenarios", "folder of the scenarios")
	f.StringVar(&a.fixtures, "fixtures", "fixtures", "folder of the fixtures")
	f.StringVar(&a.reports, "reports", "reports", "folder of the runs")
	c.AddCommand(a.runCommand(), a.validateCommand(), a.planCommand(), a.listCommand(), a.describeCommand(), a.schemaCommand(),
		a.judgeCommand(), a.reportCommand(), a.versionCommand())
	return c
}

// load finds a scenario by its name in the folder of the scenarios, or by its path.
func (a *app) load(name string, set map[string]string) (*scenario.Scenario, error) {
	opts := scenario.Options{Set: set}
	var s *scenario.Scenario
	var err error
	if info, statErr := os.Stat(name); statErr == nil && !info.IsDir() {
		s, err = scenario.Load(name, opts)
	} else {
		s, err = scenario.Find(a.scenarios, name, opts)
	}
	if err != nil {
		return nil, invalid(err)
	}
	return s, nil
}
