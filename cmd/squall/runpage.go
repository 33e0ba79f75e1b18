package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"

	"squall/internal/engine"
	"squall/internal/record"
	"squall/internal/traffic/page"
)

// pageFlags are about the page of a run under way.
type pageFlags struct {
	admissionFlags
	wanted bool
}

// ownAddress is where the page is without an address.
const ownAddress = "127.0.0.1:0"

func (f *pageFlags) add(c *cobra.Command) {
	f.listenFlag, f.tokenFlag = "ui", "ui-token"
	c.Flags().StringVar(&f.listen, f.listenFlag, "", "show interface traffic in a browser while the one run goes on, at `ADDRESS` and port; it is kept as by --records sqlite, unless that or the scenario says where")
	c.Flags().Lookup(f.listenFlag).NoOptDefVal = ownAddress
	c.Flags().StringVar(&f.token, f.tokenFlag, "", "`TOKEN` that has to be presented to --ui, of 16 characters at least; also "+tokenEnv)
	for _, name := range []string{f.listenFlag, f.tokenFlag} {
		complete(c, name, cobra.NoFileCompletions)
	}
}

// check finds mistakes before anything is compiled.
func (f *pageFlags) check(names []string, repeat int) error {
	if !f.wanted {
		if f.token != "" {
			return errors.New("--ui-token is for --ui: give that too")
		}
		return nil
	}
	for _, name := range names {
		if _, port, err := net.SplitHostPort(name); err == nil && port != "" {
			return fmt.Errorf("%q is taken for a scenario: an address of the page is written --ui=%s", name, name)
		}
	}
	if n := len(names) * repeat; n > 1 {
		return fmt.Errorf("--ui shows one run, and these are %d: name one scenario and leave --repeat out; 'squall ui RUN' shows a run later", n)
	}
	return nil
}

// openPage serves the page of the one run, if it is wanted, before anything is deployed, and has its records kept. The caller ends it.
func (a *app) openPage(ctx context.Context, f *runFlags, k *engine.Compiled, config *engine.Config) error {
	if !f.page.wanted {
		return nil
	}
	d, err := f.page.admit()
	if err != nil {
		return invalid(err)
	}
	l, err := d.open(ctx)
	if err != nil {
		return environment(err)
	}
	if config.Records == nil && k.Plan.Records == nil {
		config.Records = &engine.RecordStore{}
	}
	opts := page.Options{Name: "run " + k.RunID, Run: k.RunID, Ended: a.afterRun(f, k, config)}
	config.Page, err = page.Start(ctx, l, d.options(opts))
	if err != nil {
		return environment(errors.Join(err, l.Close()))
	}
	return d.announce(a.stderr, "run "+k.RunID, runAddress(l.Addr(), k.RunID))
}

// runAddress shows one run: its store may have others.
func runAddress(at net.Addr, run string) string {
	return fmt.Sprintf("http://%s/?%s", at, url.Values{"run": {run}}.Encode())
}

// afterRun says where to go on when the run has ended: a store in the mesh is gone then.
func (a *app) afterRun(f *runFlags, k *engine.Compiled, config *engine.Config) string {
	dir := filepath.Join(a.reports, k.RunID)
	text := "The run has ended. Its traffic is in " + filepath.Join(dir, record.TrafficPage)
	if f.keep == keepFailed {
		text += ", unless it passed (--keep failed)"
	}
	switch {
	case f.records.text != "" && f.records.text != sqliteRecords:
		return fmt.Sprintf("%s; 'squall ui %s' shows what Elasticsearch has.", text, f.records.text)
	case config.Records == nil && k.Plan.Records.File != "":
		return text + "."
	}
	return fmt.Sprintf("%s; 'squall ui %s' shows this page again.", text, dir)
}

// endPage ends what the run has not: that of one that did not begin.
func (b *batch) endPage(ctx context.Context) {
	if err := b.config.Page.End(context.WithoutCancel(ctx)); err != nil {
		fmt.Fprintln(b.stderr, message(err))
	}
}
