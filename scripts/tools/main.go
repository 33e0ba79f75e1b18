// Command tools makes the programs ready that a local mesh runs on, and prints where each is. Runs do so by themselves; it is for
// what hides their progress, as a test runner does.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"squall/internal/toolchain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run makes all programs ready.
func run(ctx context.Context, stdout, stderr io.Writer) error {
	root, err := toolchain.FindRoot(".")
	if err != nil {
		return err
	}
	tools, err := toolchain.Ensure(ctx, toolchain.Options{Root: root, Progress: toolchain.Lines(stderr)})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, t := range []struct {
		name toolchain.Name
		path string
	}{
		{toolchain.Istiod, tools.Istiod},
		{toolchain.Envoy, tools.Envoy},
		{toolchain.HTTPBin, tools.HTTPBin},
		{toolchain.Fortio, tools.Fortio},
	} {
		fmt.Fprintf(w, "%s\t%s\t%s\n", t.name, tools.Versions[string(t.name)], t.path)
	}
	return w.Flush()
}
