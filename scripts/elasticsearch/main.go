// Command elasticsearch fetches the pinned Elasticsearch, starts it on a free port of 127.0.0.1, prints its URL and process id, and stops it
// when it is interrupted. Its data are gone then, unless -dir says where to keep them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"squall/internal/elasticsearch"
	"squall/internal/proc"
	"squall/internal/toolchain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "elasticsearch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir := flag.String("dir", "", "`folder` for its data, kept; others must be able to pass through its parents")
	port := flag.Int("port", 0, "where it listens; 0 is a free port")
	heap := flag.String("heap", "512m", "Java's memory")
	flag.Parse()
	root, err := toolchain.FindRoot(".")
	if err != nil {
		return err
	}
	home, err := elasticsearch.Fetch(ctx, root, toolchain.Lines(os.Stderr))
	if err != nil {
		return err
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "squall-elasticsearch-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
		if err := os.Chmod(*dir, 0o755); err != nil { // it may run as another user
			return err
		}
	}
	group := proc.NewGroup(nil)
	defer func() { err = errors.Join(err, group.StopAll(context.WithoutCancel(ctx))) }()
	server, err := elasticsearch.Start(ctx, group, elasticsearch.Options{Home: home, Dir: *dir, Port: *port, Heap: *heap,
		Settings: map[string]string{"action.destructive_requires_name": "false"}, // it is for tests, which delete what they made
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Printf("%s is ready, process %d; it ends with this command\n", server.URL, server.PID); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
