package run

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"squall/internal/mesh"
	"squall/internal/traffic"
	"squall/internal/traffic/collect"
	"squall/internal/traffic/elastic"
)

// pipes is a listener without a network.
type pipes chan net.Conn

func (p pipes) dial() (net.Conn, error) {
	here, there := net.Pipe()
	p <- there
	return here, nil
}

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// timedEnv notes how much time it is given to go down.
type timedEnv struct {
	mesh.Env
	left time.Duration
}

func (e *timedEnv) Down(ctx context.Context) error {
	until, _ := ctx.Deadline()
	e.left = time.Until(until)
	return ctx.Err()
}

// A store of records that is down at the end of the run costs its own time, and none of the teardown's.
func TestDownWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := make(pipes)
		srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			_, _ = io.WriteString(w, "{}")
		})}
		go func() { _ = srv.Serve(l) }()
		gone := false
		c, err := collect.New(collect.Options{Run: "run-1", ByLog: true, Elastic: &elastic.Config{URLs: []string{"http://elasticsearch:9200"}, Spool: filepath.Join(t.TempDir(), "spool")}})
		if err == nil {
			err = c.Use(t.Context(), func(context.Context) (net.Conn, error) {
				if gone {
					return nil, errors.New("nobody listens")
				}
				return l.dial()
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		gone = true
		close(l)
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
		log := strings.NewReader(`{"code": 200, "method": "GET", "path": "/", "protocol": "HTTP/1.1"}`)
		if err := c.ReadLog(t.Context(), traffic.Workload{Pod: "a"}, "10.0.0.1", false, log); err != nil {
			t.Fatal(err)
		}
		env, began := &timedEnv{}, time.Now()
		r := &runner{Options: Options{Env: env}, recorder: &recorder{Collector: c}}
		err = r.down(t.Context())
		if err == nil || !strings.Contains(err.Error(), "not within 20s") || !strings.Contains(err.Error(), "1 records are in the spool") {
			t.Error(err)
		}
		if took := time.Since(began); env.left < rollbackWithin || took > recordsWithin {
			t.Errorf("the mesh had %s to go down, after %s", env.left, took)
		}
	})
}
