package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"testing"
)

// modeEnv makes this test program another one: the image test/app, or the owner of a mesh.
const modeEnv = "SQUALL_LOCAL_TEST"

func TestMain(m *testing.M) {
	switch mode := os.Getenv(modeEnv); mode {
	case "":
		os.Exit(m.Run())
	case "http", "stubborn":
		exit(serveHTTP(mode == "stubborn"))
	case "tcp":
		exit(serveTCP())
	case "owner":
		exit(m.Run())
	default:
		exit("unknown mode " + mode)
	}
}

func exit(reason any) {
	fmt.Fprintln(os.Stderr, reason)
	if code, ok := reason.(int); ok {
		os.Exit(code)
	}
	os.Exit(1)
}

func listen() (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
}

// serveHTTP answers /ready with 200 or, after /toggle, with 503, /args with its environment and arguments, and
// /call with what the URL in its query answers.
func serveHTTP(stubborn bool) error {
	if stubborn {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	}
	l, err := listen()
	if err != nil {
		return err
	}
	var unready atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/toggle", func(http.ResponseWriter, *http.Request) { unready.Store(!unready.Load()) })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { fmt.Fprintln(os.Stderr, "leaving"); os.Exit(7) })
	mux.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) { callOn(w, r.FormValue("url")) })
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if unready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/args", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(map[string][]string{"args": os.Args[1:], "env": os.Environ()}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	srv := &http.Server{Handler: mux}
	return srv.Serve(l)
}

// callOn answers with what url answers, by a connection of its own.
func callOn(w http.ResponseWriter, url string) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(resp.StatusCode)
	_, err = io.Copy(w, resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// serveTCP sends back what it gets.
func serveTCP() error {
	l, err := listen()
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, err := io.Copy(c, c)
			fmt.Fprintln(os.Stderr, errors.Join(err, c.Close()))
		}()
	}
}
