package run_test

import (
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"squall/fixtures/es-flowcontrol/app/standin"
	"squall/internal/check"
	"squall/internal/flowcontrol"
	"squall/internal/flowcontrol/flowcontroltest"
	"squall/internal/load"
	"squall/internal/record"
	"squall/internal/scenario"
)

const flowSecret = "dont-tell-anybody"

// guarded is a run of flow.yaml with flow control before a node.
type guarded struct {
	*whole
	node *standin.Node
	site flowcontroltest.Site
}

func prepareFlow(t *testing.T, set map[string]string) *guarded {
	t.Helper()
	t.Setenv("SQUALL_TEST_FLOW_PASSWORD", flowSecret)
	g := &guarded{node: standin.New(t)}
	g.site = flowcontroltest.Serve(t, g.node.URL)
	all := map[string]string{"url": g.site.Admin}
	for k, v := range set {
		all[k] = v
	}
	g.whole = prepareWith(t, "flow.yaml", scenario.Options{Set: all})
	return g
}

// client asks the flow control as the test.
func (g *guarded) client() *flowcontrol.Client {
	g.t.Helper()
	c, err := flowcontrol.New(flowcontrol.Options{URL: g.site.Admin})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(c.Close)
	return c
}

// exceed holds one connection and opens two more, which are refused.
func (g *guarded) exceed() {
	for range 3 {
		c := &http.Client{Transport: &http.Transport{}}
		g.t.Cleanup(c.CloseIdleConnections)
		answer, err := c.Get(g.site.Controlled + "/_cluster/health")
		if err != nil {
			g.t.Error(err)
			return
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err := answer.Body.Close(); err != nil {
			g.t.Error(err)
		}
		if err != nil {
			g.t.Error(err)
		}
	}
}

// silent verifies that no file of the record has the secret.
func (g *guarded) silent() {
	g.t.Helper()
	seen := 0
	err := filepath.WalkDir(g.out.Record.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		seen++
		if strings.Contains(string(b), flowSecret) {
			g.t.Errorf("%s has the secret", path)
		}
		return err
	})
	if err != nil || seen < 10 {
		g.t.Errorf("%d files: %v", seen, err)
	}
}

// untouched verifies that the settings are what they were before the run.
func (g *guarded) untouched(want flowcontrol.Change) {
	g.t.Helper()
	if err := g.client().Holds(g.t.Context(), want); err != nil {
		g.t.Error(err)
	}
}

// TestFlowControlOutside changes the flow control of a service outside of the mesh, counts what it refused and takes the change back.
func TestFlowControlOutside(t *testing.T) {
	g := prepareFlow(t, nil)
	was := flowcontrol.Change{Persistent: map[string]any{
		"flowcontrol.http.enabled": nil, "flowcontrol.http.concurrent": 77, "flowcontrol.http.newconnect": nil,
	}}
	if err := g.client().Apply(t.Context(), was); err != nil {
		t.Fatal(err)
	}
	g.hooks.load = func(phase string, _ load.Snapshot) {
		if phase == "limited" {
			g.exceed()
		}
	}
	g.run()
	g.expect(check.Pass, 0, `flowcontrol("search").http.rejected_concurrent = 2`)
	g.untouched(was)
	g.silent()
	text, err := os.ReadFile(g.path(record.JournalFile))
	if err != nil || !strings.Contains(string(text), "SQUALL_TEST_FLOW_PASSWORD") || !strings.Contains(string(text), `"flowcontrol.http.concurrent":"77"`) {
		t.Errorf("the journal: %v\n%s", err, text)
	}
}

// TestFlowControlThatFails: what cannot be done, or does not last, is said, and nothing stays changed.
func TestFlowControlThatFails(t *testing.T) {
	unset := flowcontrol.Change{Persistent: map[string]any{"flowcontrol.http.enabled": nil, "flowcontrol.http.concurrent": nil}}
	over := flowcontrol.Change{Transient: map[string]any{"flowcontrol.http.concurrent": 1000}}
	for name, tt := range map[string]struct {
		set     func(*guarded) map[string]string
		before  flowcontrol.Change // is there already
		during  func(*guarded)
		verdict check.Verdict
		code    int
		want    string
	}{
		"nobody there": {
			set:     func(*guarded) map[string]string { return map[string]string{"url": "http://127.0.0.1:1"} },
			verdict: check.Error, code: 3, want: "connection refused",
		},
		"no flow control": {
			set:     func(g *guarded) map[string]string { return map[string]string{"url": g.node.URL} },
			verdict: check.Error, code: 3, want: "it tells nothing of its flow control",
		},
		"a wrong password": {
			set:     func(*guarded) map[string]string { return map[string]string{"user": "wrong"} },
			verdict: check.Error, code: 3, want: "401: who: check the password of wrong in the variable SQUALL_TEST_FLOW_PASSWORD",
		},
		"no right to change": {
			set:     func(*guarded) map[string]string { return map[string]string{"user": "reader"} },
			verdict: check.Error, code: 3, want: "403: may not: check the password of reader",
		},
		"changed by somebody": {
			during: func(g *guarded) {
				g.exceed()
				if err := g.client().Apply(g.t.Context(), unset); err != nil {
					g.t.Error(err)
				}
			},
			verdict: check.Inconclusive, code: 4, want: "the persistent setting flowcontrol.http.concurrent is not set, and the stage made it 1",
		},
		"a transient setting is there already": {
			before:  over,
			verdict: check.Error, code: 3, want: "the transient setting flowcontrol.http.concurrent is 1000, which wins over the persistent one: it should be 1",
		},
		"a transient setting meanwhile": {
			during: func(g *guarded) {
				g.exceed()
				if err := g.client().Apply(g.t.Context(), over); err != nil {
					g.t.Error(err)
				}
			},
			verdict: check.Inconclusive, code: 4, want: "the transient setting flowcontrol.http.concurrent is 1000, which wins over the persistent one, and the stage made it 1",
		},
		"started anew": {
			during: func(g *guarded) {
				g.exceed()
				g.site.Stop()
				g.site = g.site.Again(g.t, g.node.URL)
			},
			verdict: check.Inconclusive, code: 4, want: "by somebody or by a new start",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := prepareFlow(t, nil)
			if tt.set != nil {
				g = prepareFlow(t, tt.set(g))
			}
			if len(tt.before.Transient) > 0 {
				if err := g.client().Apply(t.Context(), tt.before); err != nil {
					t.Fatal(err)
				}
			}
			if tt.during != nil {
				g.hooks.load = func(phase string, _ load.Snapshot) {
					if phase == "limited" {
						tt.during(g)
					}
				}
			}
			g.run()
			g.expect(tt.verdict, tt.code, tt.want)
			g.untouched(unset)
			g.silent()
		})
	}
}

// TestFlowControlWithoutItsSecret does not begin a run whose secret is not there.
func TestFlowControlWithoutItsSecret(t *testing.T) {
	g := prepareFlow(t, nil)
	t.Setenv("SQUALL_TEST_FLOW_PASSWORD", "")
	if _, err := g.config.Run(g.ctx, g.compiled, &g.hooks); err == nil || !strings.Contains(err.Error(), "the variable SQUALL_TEST_FLOW_PASSWORD of the environment is empty or not set") {
		t.Errorf("%v", err)
	}
}

// TestFlowControlThatTheServiceRefuses names what the service says about a key that is not known here.
func TestFlowControlThatTheServiceRefuses(t *testing.T) {
	g := &guarded{node: standin.New(t)}
	g.site = flowcontroltest.Serve(t, g.node.URL)
	g.whole = prepareWith(t, "flow-refused.yaml", scenario.Options{Set: map[string]string{"url": g.site.Admin}})
	g.run()
	g.expect(check.Error, 3, "400: illegal_argument_exception: persistent setting [flowcontrol.http.tomorrow], not recognized")
}

// TestFlowControlThatEnds: settings that are for a time alone are back before the load ends, which is no change by somebody else.
func TestFlowControlThatEnds(t *testing.T) {
	g := &guarded{node: standin.New(t)}
	g.site = flowcontroltest.Serve(t, g.node.URL)
	g.whole = prepareWith(t, "flow-for.yaml", scenario.Options{Set: map[string]string{"url": g.site.Admin}})
	g.hooks.load = func(phase string, _ load.Snapshot) {
		if phase == "limited" {
			g.exceed()
		}
	}
	unset := flowcontrol.Change{Persistent: map[string]any{"flowcontrol.http.enabled": nil, "flowcontrol.http.concurrent": nil}}
	g.hooks.phase = func(name string) {
		if name == "after" {
			g.untouched(unset)
		}
	}
	g.run()
	g.expect(check.Pass, 0)
	g.untouched(unset)
	text, err := os.ReadFile(g.path(record.EventsFile))
	if err != nil || !strings.Contains(string(text), "taken back after 2s") {
		t.Errorf("%v:\n%s", err, text)
	}
}
