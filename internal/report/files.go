package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"squall/internal/check"
	"squall/internal/record"
)

// WriteFiles writes result.json, junit.xml and report.html into the run's folder, each whole or not at all. A file
// that cannot be written does not keep the others from being tried; the joined error names each.
func WriteFiles(run *record.Run, d Data) error {
	files := []struct {
		name   string
		render func(io.Writer) error
	}{
		{record.ResultFile, func(w io.Writer) error { return JSON(w, d.Result) }},
		{record.JUnitFile, func(w io.Writer) error { return JUnit(w, d) }},
		{record.ReportFile, func(w io.Writer) error { return HTML(w, d) }},
	}
	var errs []error
	for _, f := range files {
		var b bytes.Buffer
		err := f.render(&b)
		if err == nil {
			err = run.WriteFile(f.name, b.Bytes())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s was not written: %w", run.Path(f.name), err))
		}
	}
	return errors.Join(errs...)
}

// verdictClass is the CSS class of a verdict.
func verdictClass(v check.Verdict) string {
	switch v {
	case check.Pass:
		return "v-pass"
	case check.Fail:
		return "v-fail"
	case check.Error:
		return "v-error"
	case check.Halted:
		return "v-halted"
	}
	return "v-inconclusive"
}
