// Command tools makes the programs ready that a local mesh runs on, and kubectl, links them in a folder, and prints where each is.
// Runs do so by themselves; it is for what hides their progress, as a test runner does, and for people who want to try them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"squall/internal/toolchain"
)

func main() {
	links := flag.String("links", "bin/tools", "folder for links to the programs, below the project's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *links, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run makes all programs ready.
func run(ctx context.Context, links string, stdout, stderr io.Writer) error {
	root, err := toolchain.FindRoot(".")
	if err != nil {
		return err
	}
	names := []toolchain.Name{toolchain.Istiod, toolchain.Envoy, toolchain.HTTPBin, toolchain.Fortio, toolchain.Bookinfo, toolchain.Issuer, toolchain.ESFlowControl, toolchain.Kubectl}
	tools, err := toolchain.Ensure(ctx, toolchain.Options{Root: root, Need: names, Progress: toolchain.Lines(stderr)})
	if err != nil {
		return err
	}
	paths := map[toolchain.Name]string{
		toolchain.Istiod: tools.Istiod, toolchain.Envoy: tools.Envoy, toolchain.HTTPBin: tools.HTTPBin,
		toolchain.Fortio: tools.Fortio, toolchain.Bookinfo: tools.Bookinfo, toolchain.Issuer: tools.Issuer, toolchain.ESFlowControl: tools.ESFlowControl, toolchain.Kubectl: tools.Kubectl,
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, name := range names {
		if err := link(paths[name], filepath.Join(root, links, string(name))); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", name, tools.Versions[string(name)], paths[name])
	}
	return w.Flush()
}

// link makes path a link to program, whatever it was.
func link(program, path string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err = errors.Join(err, os.Symlink(program, tmp)); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return nil
}
