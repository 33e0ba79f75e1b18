package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"squall/internal/record"
	"squall/internal/traffic"
	"squall/internal/traffic/elastic"
	"squall/internal/traffic/page"
	"squall/internal/traffic/sqlite"
	"squall/internal/traffic/store"
)

const tokenEnv = "SQUALL_UI_TOKEN"

// uiFlags are the flags of ui.
type uiFlags struct {
	admissionFlags
	reporter reporter
}

// reporter is whose records a page shows.
type reporter string

// String is the flag's value.
func (r *reporter) String() string { return string(*r) }

// Set reads the flag.
func (r *reporter) Set(s string) error {
	return oneOf(r, s, reporter(traffic.Destination), reporter(traffic.Source))
}

// Type is what the help calls the value.
func (r *reporter) Type() string { return "REPORTER" }

func (a *app) uiCommand() *cobra.Command {
	f := &uiFlags{admissionFlags: admissionFlags{listenFlag: "listen", tokenFlag: "token"}, reporter: reporter(traffic.Destination)}
	c := &cobra.Command{
		Use: "ui [RUN|FILE.db|application.yaml]", Short: "Show interface traffic in a browser: services, interfaces, requests, who calls whom", Args: cobra.MaximumNArgs(1),
		Long: "Serve the interface traffic of a run, by its id or folder, of a file of records, or of the Elasticsearch that an application.yaml\n" +
			"names; without an argument, of the newest run that has records. It is a page for a browser, and JSON below /api/. The address\n" +
			"is printed; Ctrl-C ends it.\n\n" +
			"On a loopback address nobody has to sign in, unless --token says so. On any other one everybody has to: without --token and\n" +
			tokenEnv + " a token is made and printed. There is no TLS: put a proxy with TLS before it, or use ssh -L.",
		Example:           "  squall ui\n  squall ui circuit-20260301-120000-a1b2c3\n  squall ui application.yaml --listen 127.0.0.1:8088",
		ValidArgsFunction: a.completeRecords,
		RunE: func(c *cobra.Command, args []string) error {
			return a.ui(c.Context(), f, args)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.listen, f.listenFlag, ownAddress, "`ADDRESS` and port to serve at; port 0 is a free one")
	fs.StringVar(&f.token, f.tokenFlag, "", "`TOKEN` that has to be presented, of 16 characters at least; also "+tokenEnv)
	fs.Var(&f.reporter, "reporter", "whose records to show first: destination, which is the callee's proxy, or source")
	complete(c, "reporter", cobra.FixedCompletions([]string{string(traffic.Destination), string(traffic.Source)}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// completeRecords offers the runs that have records, and files.
func (a *app) completeRecords(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	found, err := filepath.Glob(filepath.Join(a.reports, "*", record.TrafficStore))
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var out []string
	for _, f := range found {
		out = append(out, filepath.Base(filepath.Dir(f)))
	}
	return out, cobra.ShellCompDirectiveDefault
}

// records is what a page is of.
type records struct {
	name   string
	config *elastic.Config // nil is the file
	file   string
}

func (a *app) ui(ctx context.Context, f *uiFlags, args []string) (err error) {
	a.endsBy("closing the page; once more to quit at once")
	of, err := a.recordsOf(args)
	if err != nil {
		return invalid(err)
	}
	d, err := f.admit()
	if err != nil {
		return invalid(err)
	}
	s, done, err := of.open(ctx)
	if err != nil {
		return environment(err)
	}
	defer func() {
		if closed := done(); closed != nil {
			err = environment(errors.Join(err, closed))
		}
	}()
	h, err := page.New(d.options(page.Options{Reader: s, Name: of.name, Reporter: traffic.Reporter(f.reporter)}))
	if err != nil {
		return environment(err)
	}
	l, err := d.open(ctx)
	if err != nil {
		return environment(err)
	}
	if err := d.announce(a.stdout, of.name, fmt.Sprintf("http://%s/", l.Addr())); err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprintln(a.stderr, "serving; Ctrl-C ends it")
	if err := page.Serve(ctx, l, h); err != nil {
		return environment(err)
	}
	return nil
}

// recordsOf finds what the argument means.
func (a *app) recordsOf(args []string) (records, error) {
	if len(args) == 0 {
		return a.newestRecords()
	}
	name := args[0]
	info, err := os.Stat(name)
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case err == nil && info.IsDir():
		return runRecords(name)
	case ext == ".yaml" || ext == ".yml":
		return elasticRecords(name)
	case err == nil:
		return records{name: filepath.Base(name), file: name}, nil
	case ext == ".db":
		return records{}, fmt.Errorf("the file of records %s: %w", name, err)
	}
	return runRecords(filepath.Join(a.reports, name))
}

// runRecords are those of a run's folder.
func runRecords(dir string) (records, error) {
	run, err := record.Open(dir)
	if err != nil {
		return records{}, fmt.Errorf("%w: give a run's id or folder, a file of records, or an application.yaml", err)
	}
	file := run.Path(record.TrafficStore)
	if _, err := os.Stat(file); err != nil {
		return records{}, fmt.Errorf("the run %s has no %s, where interface traffic would be: %w", filepath.Base(dir), record.TrafficStore, err)
	}
	return records{name: "run " + filepath.Base(dir), file: file}, nil
}

// newestRecords are those of the run that began last.
func (a *app) newestRecords() (records, error) {
	files, err := filepath.Glob(filepath.Join(a.reports, "*", record.TrafficStore))
	if err != nil {
		return records{}, fmt.Errorf("look for runs: %w", err)
	}
	var newest records
	var began time.Time
	for _, f := range files {
		run, err := record.Open(filepath.Dir(f))
		if err != nil {
			continue // no run's folder
		}
		m, err := run.Manifest()
		if err == nil && m.Start.After(began) {
			began, newest = m.Start, records{name: "run " + filepath.Base(filepath.Dir(f)), file: f}
		}
	}
	if newest.file == "" {
		return newest, fmt.Errorf("no run below %s has interface traffic (%s): run a scenario that collects it, or give a file of records or an application.yaml", a.reports, record.TrafficStore)
	}
	return newest, nil
}

func elasticRecords(file string) (records, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return records{}, fmt.Errorf("the store's configuration: %w", err)
	}
	c, err := elastic.ParseConfig(text)
	if err != nil {
		return records{}, fmt.Errorf("%s: %w", file, err)
	}
	return records{name: "Elasticsearch at " + c.URLs[0], config: &c}, nil
}

// open opens what a page is of, and returns how to close it.
func (r records) open(ctx context.Context) (store.Reader, func() error, error) {
	if r.config != nil {
		s, err := elastic.OpenReader(ctx, *r.config)
		return s, func() error { return nil }, err
	}
	s, err := sqlite.OpenReader(ctx, r.file)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}
