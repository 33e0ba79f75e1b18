package run

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"squall/internal/mesh"
	"squall/internal/record"
)

// proxiesOnly is an environment that has nothing but the proxies' admin interfaces.
type proxiesOnly struct {
	mesh.Env
	info map[string]string // by pod: what /server_info says
}

func (p *proxiesOnly) Admin(_ context.Context, pod, _, path string) ([]byte, error) {
	switch {
	case p.info[pod] == "":
		return nil, errors.New("connection refused")
	case path == "/server_info":
		return []byte(p.info[pod]), nil
	default:
		return []byte(`{"configs":[]}`), nil
	}
}

func live(age time.Duration) string {
	return fmt.Sprintf(`{"state":"LIVE","uptime_current_epoch":"%ds"}`, int(age.Seconds()))
}

func TestSameProxies(t *testing.T) {
	for name, c := range map[string]struct {
		later string
		want  string // "" is that it is the same
	}{
		"the same":           {live(time.Hour), ""},
		"a second late":      {live(time.Hour + time.Second), ""},
		"started again":      {live(0), "the proxy of b was started again: it began 1h0m0s after the one that was there before"},
		"draining":           {`{"state":"DRAINING","uptime_current_epoch":"3600s"}`, `the proxy of b is "DRAINING", not LIVE`},
		"gone":               {"", "state of the proxy of b: connection refused"},
		"not Envoy":          {"hello", "state of the proxy of b: invalid character"},
		"without an age":     {`{"state":"LIVE"}`, `age of the proxy of b: time: invalid duration ""`},
		"nothing but braces": {`{}`, `the proxy of b is "", not LIVE`},
	} {
		t.Run(name, func(t *testing.T) {
			rec, err := record.Create(t.TempDir(), "x")
			if err != nil {
				t.Fatal(err)
			}
			env := &proxiesOnly{info: map[string]string{"a": live(time.Minute), "b": live(time.Hour)}}
			r := &runner{Options: Options{Env: env, Record: rec}}
			if err := r.enlist(t.Context(), []record.Proxy{{Pod: "b"}, {Pod: "a"}}); err != nil {
				t.Fatal(err)
			}
			env.info["b"] = c.later
			err = r.sameProxies(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestStarted compares readings of which each says when a proxy started, as far as it can be known.
func TestStarted(t *testing.T) {
	at := func(seconds int) time.Time { return time.Date(2026, 3, 1, 12, 0, seconds, 0, time.UTC) }
	for name, c := range map[string]struct {
		before, now started
		again       bool
	}{
		"the same":                  {started{at(0), at(1)}, started{at(0), at(1)}, false},
		"the first came slowly":     {started{at(0), at(9)}, started{at(3), at(4)}, false},
		"the second came slowly":    {started{at(3), at(4)}, started{at(0), at(9)}, false},
		"a whole second apart":      {started{at(0), at(1)}, started{at(1), at(2)}, false},
		"started later":             {started{at(0), at(1)}, started{at(2), at(3)}, true},
		"later, and it came slowly": {started{at(0), at(1)}, started{at(2), at(30)}, true},
	} {
		if got := c.now.again(c.before); got != c.again {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestEnlistKeepsThoseThatWere(t *testing.T) {
	rec, err := record.Create(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{Options: Options{Env: &proxiesOnly{info: map[string]string{"a": live(0), "b": live(0)}}, Record: rec}}
	for _, pods := range [][]record.Proxy{{{Pod: "b"}}, {{Pod: "b", IP: "127.0.0.2"}, {Pod: "a"}}, {{Pod: "a"}}} {
		if err := r.enlist(t.Context(), pods); err != nil {
			t.Fatal(err)
		}
	}
	saved, err := rec.Proxies()
	if err != nil {
		t.Fatal(err)
	}
	if want := []record.Proxy{{Pod: "a"}, {Pod: "b", IP: "127.0.0.2"}}; !reflect.DeepEqual(saved, want) {
		t.Errorf("saved %+v, want %+v", saved, want)
	}
	if len(r.proxies) != 1 || len(r.starts) != 1 || r.configs["a"] == nil {
		t.Errorf("now %+v, %v", r.proxies, r.starts)
	}
	if err := r.enlist(t.Context(), []record.Proxy{{Pod: "silent"}}); err == nil {
		t.Error("a proxy that does not answer was enlisted")
	}
}
