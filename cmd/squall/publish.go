package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"squall/internal/report"
)

// print prints a result on stdout.
func (a *app) print(data report.Data, to format) error {
	if to == asJSON {
		return report.JSON(a.stdout, data.Result)
	}
	return report.Text(a.stdout, data, a.textOptions())
}

// annotate tells GitHub Actions of a run, when there: the summary of the step, and what did not pass at its line. GitHub reads
// annotations on both streams; JSON keeps stdout for itself.
func (a *app) annotate(data report.Data, to format) error {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return nil
	}
	w := a.stdout
	if to == asJSON {
		w = a.stderr
	}
	return errors.Join(report.Annotations(w, data), appendTo("GITHUB_STEP_SUMMARY", func(w io.Writer) error { return report.Markdown(w, data) }))
}

// writeOutputs sets the outputs of a step of GitHub Actions, once for all runs: a pass that comes last must not hide a failure.
func writeOutputs(all []finished) error {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return nil
	}
	var ids []string
	for _, r := range all {
		if r.result.RunID != "" {
			ids = append(ids, r.result.RunID)
		}
	}
	decisive := worstOf(all)
	verdict, _ := decisive.verdict()
	return appendTo("GITHUB_OUTPUT", func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "verdict=%s\nrun-id=%s\nrun-ids=%s\nexit-code=%d\n", verdict, decisive.result.RunID, strings.Join(ids, ","), decisive.code)
		return err
	})
}

// appendTo appends to the file that an environment variable names, when there is one.
func appendTo(variable string, write func(io.Writer) error) error {
	path := os.Getenv(variable)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	return nil
}
