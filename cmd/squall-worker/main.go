// Command squall-worker drives the loads that Squall orders, where it runs: in a pod of its own beside a proxy. See
// internal/load/worker for what it serves.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"squall/internal/load/worker"
	"squall/internal/relay"
)

// stopWithin is how long loads that are broken off have to say so.
const stopWithin = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "squall-worker:", err)
		os.Exit(3)
	}
}

// serve serves until ctx ends. It prints the address when it listens.
func serve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("squall-worker", flag.ContinueOnError)
	host := flags.String("host", "127.0.0.1", "the address to listen at, where a port-forward arrives; beware of others: the worker calls whatever it is told to")
	port := flags.Int("port", worker.Port, "the port to listen at; 0 is any that is free")
	buffer := flags.Int("buffer", worker.DefaultBuffer>>20, "MiB of calls that are kept for a driver that takes them too slowly")
	front := flags.String("relay", "", "an `ADDRESS` at which connections are taken for Squall, which takes them at the port: nothing is called then")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *buffer < 1 {
		return fmt.Errorf("wrong arguments %q: see -help", args)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(*host, strconv.Itoa(*port)))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening at", l.Addr())
	if *front != "" {
		callers, err := lc.Listen(ctx, "tcp", *front)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		return relay.Serve(ctx, callers, l)
	}
	loads, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	srv := &http.Server{
		Handler: worker.NewServer(*buffer << 20), ReadHeaderTimeout: stopWithin,
		BaseContext: func(net.Listener) context.Context { return loads },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	end(errors.New("the worker was told to stop"))
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := srv.Shutdown(within); err != nil {
		return errors.Join(err, srv.Close())
	}
	return nil
}
