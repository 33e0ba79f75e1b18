package run_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/engine"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/scenario"
	"squall/internal/traffic/collect"
	"squall/internal/traffic/elastic"
)

// A password that is wrong ends the run before anything is there, and is written nowhere.
func TestRecordsWrongPassword(t *testing.T) {
	const secret = "hunter2-hunter2"
	asked := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		asked = asked || password == secret
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer srv.Close()
	config, err := elastic.ParseConfig([]byte("ds_driver: Elastic\nurl: " + srv.URL + "\nusername: elastic\npassworld: " + secret + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := prepare(t, "answers.yaml")
	w.config.Records = &engine.RecordStore{Elastic: &config}
	w.run()
	w.expect(check.Error, 3, "the store of interface traffic: ", "does not know the user or the password", "check username and password")
	if strings.Contains(w.out.Result.Reason, "panic") {
		t.Error(w.out.Result.Reason)
	}
	if !asked {
		t.Error("the password was not tried")
	}
	err = filepath.WalkDir(w.out.Record.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			t.Errorf("%s has the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// All that a run with records promises, on a mesh with sign-in, look-ups and a load from outside, whichever way the proxies tell.
func TestRecords(t *testing.T) {
	for way, tt := range map[string]struct {
		scenario *plan.Records
		store    *engine.RecordStore
		flag     string
		sent     bool
	}{
		"whatever the scenario says":   {nil, &engine.RecordStore{}, "", true},
		"by the access log service":    {&plan.Records{}, nil, "", true},
		"of access logs":               {&plan.Records{ByLog: true}, nil, "", false},
		"of access logs, by the flag":  {nil, nil, scenario.ViaAccessLog, false},
		"by the service, for the flag": {&plan.Records{ByLog: true}, nil, scenario.ViaALS, true},
	} {
		t.Run(way, func(t *testing.T) {
			w := prepare(t, "answers.yaml")
			w.compiled.Plan.Records, w.config.Records, w.config.RecordsVia = tt.scenario, tt.store, tt.flag
			w.run()
			w.expect(check.Pass, 0)
			proxy, err := os.ReadFile(w.out.Record.Path("proxies/httpbin-0/config.before.json"))
			if sent := strings.Contains(string(proxy), `"squall-records"`); err != nil || sent != tt.sent {
				t.Errorf("proxies were told to send: %t, %v", sent, err)
			}
			for _, p := range w.out.Result.Phases {
				expectRecords(t, p)
			}
			got, err := w.out.Record.Traffic("token")
			if err != nil || got.Complete != "ok" || len(got.Groups) == 0 || got.Groups[0].Interface != "/bearer" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func expectRecords(t *testing.T, p check.PhaseResult) {
	t.Helper()
	n := 0
	for _, o := range p.Outcomes {
		if o.Kind == check.KindRecords {
			n++
			if o.Verdict != check.Pass || !strings.Contains(o.Reason, "SQLite has the ") {
				t.Errorf("%s: %+v", p.Name, o)
			}
		}
	}
	if n != 1 {
		t.Errorf("%s has %d outcomes of records", p.Name, n)
	}
}

// cutting is a mesh whose proxies' streams of records end once with what was sent last still on its way.
type cutting struct {
	*local.Mesh
	cut *atomic.Bool // the next message is lost
}

func (c cutting) Records(ctx context.Context, namespaces []string) (net.Listener, []*unstructured.Unstructured, error) {
	l, objects, err := c.Mesh.Records(ctx, namespaces)
	return cutListener{l, c.cut}, objects, err
}

type cutListener struct {
	net.Listener
	cut *atomic.Bool
}

func (l cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &cutConn{c, l.cut}, err
}

type cutConn struct {
	net.Conn
	cut *atomic.Bool
}

// Read loses a message: what is shorter is HTTP/2's own.
func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 256 && c.cut.CompareAndSwap(true, false) {
		return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
	}
	return n, err
}

// Records that are lost on their way are missed: the run is not green, and says how many of whose proxy did not come.
func TestRecordsLostOnTheWay(t *testing.T) {
	w := prepare(t, "answers.yaml")
	w.records = &collect.Options{Run: w.compiled.RunID, File: filepath.Join(t.TempDir(), "records.db")}
	var cut atomic.Bool
	w.hooks.phase = func(name string) { cut.Store(name == "nobody") }
	w.runOn("answers", func(m *local.Mesh) mesh.Env { return cutting{m, &cut} })
	if cut.Load() {
		t.Fatal("nothing was lost")
	}
	w.expect(check.Inconclusive, 4)
	for _, p := range w.out.Result.Phases {
		for _, o := range p.Outcomes {
			if o.Kind != check.KindRecords {
				continue
			}
			missing := regexp.MustCompile(`the records are incomplete: \d+ records came of (httpbin-0|squall-load\S*), whose proxy finished \d+ requests, so that [1-9]\d* are missing`)
			switch {
			case p.Name == "nobody" && (o.Verdict != check.Inconclusive || !missing.MatchString(o.Reason)):
				t.Errorf("%s: %+v", p.Name, o)
			case p.Name != "nobody" && o.Verdict != check.Pass:
				t.Errorf("%s: %+v", p.Name, o)
			}
			t.Logf("%s: %s: %s", p.Name, o.Verdict, o.Reason)
		}
	}
}
