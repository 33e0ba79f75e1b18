package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"squall/internal/engine"
	"squall/internal/record"
	"squall/internal/report"
)

func (a *app) judgeCommand() *cobra.Command {
	var to format
	c := &cobra.Command{
		Use: "judge RUN", Short: "Judge a saved run again, from its files alone", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeRuns,
		Long: "Judge a saved run, by its id or folder, from its files alone. The exit code is the run's.",
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := a.judge(args[0])
			if err != nil {
				return err
			}
			if err := a.print(out.Data, to); err != nil {
				return &codeError{worst(out.Result.ExitCode, exitEnvironment), err}
			}
			return ended(out.Result.ExitCode)
		},
	}
	output(c, &to)
	return c
}

// openRun opens a run by its folder or its id.
func (a *app) openRun(name string) (*record.Run, error) {
	path := name
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(a.reports, name)
	}
	rec, err := record.Open(path)
	if err != nil {
		return nil, invalid(err)
	}
	return rec, nil
}

// judge opens a run and judges it. What of the record cannot be read is in the result and printed; only a run that cannot be
// judged is an error.
func (a *app) judge(name string) (*engine.Outcome, error) {
	rec, err := a.openRun(name)
	if err != nil {
		return nil, err
	}
	out, err := engine.Judge(rec)
	if out == nil {
		return nil, environment(err)
	}
	if err != nil {
		fmt.Fprintln(a.stderr, message(err))
	}
	return out, nil
}

func (a *app) reportCommand() *cobra.Command {
	var to format
	c := &cobra.Command{
		Use: "report RUN", Short: "Write a saved run's report.html, junit.xml and result.json again", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		Long: "Judge a saved run, by its id or folder, and write its report.html, junit.xml and result.json again. The exit code says\n" +
			"whether they could be written, not what the verdict is.",
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := a.judge(args[0])
			if err != nil {
				return err
			}
			rec, result := out.Record, out.Result
			if err := report.WriteFiles(rec, out.Data); err != nil {
				return environment(err)
			}
			if to == asJSON {
				return a.printJSON(map[string]string{
					"runId": result.RunID, "verdict": result.Verdict.String(),
					"html": rec.Path(record.ReportFile), "junit": rec.Path(record.JUnitFile), "result": rec.Path(record.ResultFile),
				})
			}
			return a.println(rec.Path(record.ReportFile))
		},
	}
	output(c, &to)
	return c
}
