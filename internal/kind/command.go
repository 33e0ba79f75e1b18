package kind

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"squall/internal/proc"
	"squall/internal/toolchain"
)

// task is how a program is run.
type task struct {
	activity string                  // for the progress; empty is not worth telling
	log      string                  // name of the log in Dir, which the last run of the program left
	detail   func(log string) string // what the log says about how far it is
}

// command runs a program to its end. When ctx is done, it and all that it has started are ended. The error says what to do, as far as
// what the program printed tells.
func (c *cluster) command(ctx context.Context, t task, program string, args ...string) (err error) {
	what := filepath.Base(program) + " " + strings.Join(args[:min(2, len(args))], " ")
	log := filepath.Join(c.Dir, c.Name+"."+t.log+".log")
	if err := removeFiles(log); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if t.activity != "" {
		detail := nothing
		if t.detail != nil {
			detail = func() string { return t.detail(readLog(log)) }
		}
		done := toolchain.Track(c.Progress, c.update(t.activity), detail)
		defer func() { done(err) }()
	}
	err = proc.Run(ctx, proc.Spec{
		Name: what, Path: program, Args: args, Env: environment(os.Environ()), LogFile: log, Contain: true,
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	return explain(what, err, readLog(log))
}

// environment has kind use Docker, which is what Squall looks at, unless the user has chosen.
func environment(env []string) []string {
	const choice = "KIND_EXPERIMENTAL_PROVIDER="
	for _, v := range env {
		if strings.HasPrefix(v, choice) {
			return env
		}
	}
	return append(env, choice+"docker")
}

// readLog is a log, as far as it is there.
func readLog(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

// kindStep is what kind is at: the last line of the kind " • Preparing nodes  ...".
func kindStep(log string) string {
	i := strings.LastIndex(log, " • ")
	if i < 0 {
		return ""
	}
	line, _, _ := strings.Cut(log[i+len(" • "):], "\n")
	return strings.Trim(line, " .")
}

// lastLine is what istioctl is at.
func lastLine(log string) string {
	lines := strings.FieldsFunc(log, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) == 0 {
		return ""
	}
	return strings.Trim(lines[len(lines)-1], " -.")
}
