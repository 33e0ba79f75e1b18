// Command elasticsearch fetches the pinned Elasticsearch, starts it on a free port of 127.0.0.1, prints its URL and process id, and stops it
// when it is interrupted. Its data are gone then, unless -dir says where to keep them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"squall/internal/elasticsearch"
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

func run(ctx context.Context) error {
	dir := flag.String("dir", "", "`folder` for its data, kept; others must be able to pass through its parents")
	port := flag.Int("port", 0, "where it listens; 0 is a free port")
	heap := flag.String("heap", "512m", "Java's memory")
	flag.Parse()
	opts := elasticsearch.Options{
		Dir: *dir, Port: *port, Heap: *heap,
		Settings: map[string]string{ // it is for tests, which delete what they made, on disks that may be fuller than it likes
			"action.destructive_requires_name": "false", "cluster.routing.allocation.disk.threshold_enabled": "false",
		},
	}
	return elasticsearch.With(ctx, opts, toolchain.Lines(os.Stderr), func(s *elasticsearch.Server) error {
		if _, err := fmt.Printf("%s is ready, process %d; it ends with this command\n", s.URL, s.PID); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
}
