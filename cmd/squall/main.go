// Command squall runs chaos and load test scenarios against an Istio mesh and says, with evidence, whether they hold.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"squall/internal/run"
	"squall/internal/scenario"
)

func main() {
	klog.SetLogger(logr.Discard()) // client-go's own log: what it has to say comes as errors too
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	app := &app{stdout: stdout, stderr: stderr}
	app.endsBy("restoring what was there; once more to quit at once")
	ctx, stop := app.signals(context.Background())
	defer stop()
	root := app.root()
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := app.code(ctx, err)
	if text := message(err); text != "" {
		fmt.Fprintln(stderr, text)
	}
	return code
}

// message is what a person reads of an error. The author's mistakes begin with their place, as editors expect it.
func message(err error) string {
	var code *codeError
	if errors.As(err, &code) {
		if code.err == nil {
			return "" // it was printed already
		}
		err = code.err
	}
	var list scenario.Problems
	var one scenario.Problem
	if errors.As(err, &list) || errors.As(err, &one) {
		return err.Error()
	}
	return "squall: " + err.Error()
}

// signals ends the context at the first SIGINT, SIGTERM or SIGHUP, so that a run rolls back and a mesh ends in order. The second one
// ends the process. A terminal or a pipe that is gone does not: what is printed there is lost, and the run goes on to its end.
func (a *app) signals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2)
	names := map[os.Signal]string{os.Interrupt: "SIGINT", syscall.SIGTERM: "SIGTERM"}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		names[syscall.SIGHUP] = "SIGHUP"
	}
	signal.Notify(ch, slices.Collect(maps.Keys(names))...)
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE) // else a write to a closed pipe would end the process; unlike Ignore, children do not inherit it
	go func() {
		var first os.Signal
		for s := range ch {
			if first == nil {
				first = s
				cancel(&run.SignalError{Name: names[s]})
				fmt.Fprintf(a.stderr, "squall: %s: %s\n", names[s], *a.ending.Load())
				continue
			}
			fmt.Fprintln(a.stderr, "squall: quit before all was restored: 'squall rollback' finishes a run, 'squall down' a mesh")
			os.Exit(128 + int(s.(syscall.Signal)))
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		signal.Stop(broken)
		close(ch)
		cancel(nil)
	}
}

// app is one command line.
type app struct {
	stdout, stderr io.Writer
	ending         atomic.Pointer[string] // what a first signal has squall do
	started        bool                   // the command line was understood
	scenarios      string                 // folder
	fixtures       string                 // folder
	reports        string                 // folder
}

// endsBy says what the first signal begins.
func (a *app) endsBy(text string) { a.ending.Store(&text) }

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "squall",
		Short: "Chaos and load tests for Istio meshes, with evidence",
		Long: "Squall deploys an application on a real Istio mesh, applies faults and policies, drives load and judges the outcome.\n" +
			"A run passes only if its fault is proven, its samples suffice and its rollback is verified.\n\n" + exitCodesText(),
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(*cobra.Command, []string) { a.started = true },
	}
	f := c.PersistentFlags()
	f.StringVar(&a.scenarios, "scenarios", "scenarios", "`FOLDER` of the scenarios")
	f.StringVar(&a.fixtures, "fixtures", "fixtures", "`FOLDER` of the fixtures")
	f.StringVar(&a.reports, "reports", "reports", "`FOLDER` of the runs")
	for _, name := range []string{"scenarios", "fixtures", "reports"} {
		complete(c, name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		})
	}
	c.AddCommand(
		a.runCommand(), a.falsifyCommand(), a.lintCommand(), a.validateCommand(), a.planCommand(), a.listCommand(), a.describeCommand(), a.schemaCommand(),
		a.judgeCommand(), a.reportCommand(), a.uiCommand(), a.rollbackCommand(),
		a.upCommand(), a.downCommand(), a.kindCommand(), a.collectCommand(), a.imageCommand(), a.doctorCommand(), a.versionCommand(),
	)
	return c
}

// output adds the flag that chooses between text and JSON.
func output(c *cobra.Command, to *format) {
	*to = asText
	c.Flags().VarP(to, "output", "o", "what to print on stdout: text or json")
	complete(c, "output", cobra.FixedCompletions([]string{string(asText), string(asJSON)}, cobra.ShellCompDirectiveNoFileComp))
}

// format is how a result is printed.
type format string

const (
	asText format = "text"
	asJSON format = "json"
)

// String is the flag's value.
func (f *format) String() string { return string(*f) }

// Set reads the flag.
func (f *format) Set(s string) error { return oneOf(f, s, asText, asJSON) }

// Type is what the help calls the value.
func (f *format) Type() string { return "FORMAT" }

// oneOf sets to to the one of values that s is.
func oneOf[T ~string](to *T, s string, values ...T) error {
	var names []string
	for _, v := range values {
		if s == string(v) {
			*to = v
			return nil
		}
		names = append(names, string(v))
	}
	return fmt.Errorf("there is %s", strings.Join(names, " and "))
}
