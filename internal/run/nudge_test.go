package run

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"squall/internal/mesh"
	"squall/internal/record"
)

// leftOut is an environment whose istiod sends nothing to a proxy until a mark comes.
type leftOut struct {
	mesh.Env
	api    *api
	marked bool // it has sent all again
}

const (
	oldDump = `{"configs":[{"dynamic_active_clusters":[{"cluster":{"name":"outbound|80||a"}}]}]}`
	newDump = `{"configs":[{"dynamic_active_clusters":[{"cluster":{"name":"outbound|80||a","fault":true}}]}]}`
	quiet   = `{"stats":[{"name":"listener_manager.total_listeners_warming","value":0},{"name":"listener_manager.total_listeners_draining","value":0},
		{"name":"listener_manager.total_filter_chains_draining","value":0}]}`
	marking = `{"configs":[{"dynamic_active_clusters":[{"cluster":{"name":"squall-nudge"}}]}]}`
)

func (e *leftOut) Admin(ctx context.Context, _, _, path string) ([]byte, error) {
	if strings.HasPrefix(path, "/stats?") {
		return []byte(quiet), nil
	}
	mark, err := e.api.Get(ctx, mesh.Ref{APIVersion: "networking.istio.io/v1alpha3", Kind: "EnvoyFilter", Namespace: "default", Name: "squall-mark"})
	switch {
	case err != nil:
		return nil, err
	case mark != nil:
		e.marked = true
		return []byte(marking), nil
	case e.marked:
		return []byte(oldDump), nil
	}
	return []byte(newDump), nil
}

func (e *leftOut) Debug(context.Context, string) ([]byte, error) {
	return []byte(`[{"proxy":"a.default","cluster_sent":"1","cluster_acked":"1"}]`), nil
}

func TestProxiesThatIstiodLeftOutAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		told   bool // before the rollback is waited for
		nudges int
	}{"left out": {false, 1}, "told": {true, 0}} {
		t.Run(name, func(t *testing.T) {
			rec, err := record.Create(t.TempDir(), "x")
			if err != nil {
				t.Fatal(err)
			}
			events, err := rec.Events()
			if err != nil {
				t.Fatal(err)
			}
			before, err := mesh.ParseConfig([]byte(oldDump))
			if err != nil {
				t.Fatal(err)
			}
			a := newAPI(t)
			r := &runner{
				Options: Options{Env: &leftOut{api: a, marked: c.told}, Record: rec}, base: time.Now(), events: events, objects: a.Objects,
				journal: journalAt(t, filepath.Join(t.TempDir(), "journal.ndjson")), before: map[string]*mesh.Config{"a": before},
			}
			if err := r.awaitConfigs(t.Context(), []record.Proxy{{Pod: "a", Namespace: "default"}}); err != nil {
				t.Fatal(err)
			}
			if open := r.journal.Open(); len(open) != 0 || len(r.changed) != c.nudges {
				t.Errorf("%d nudges, want %d; left %v", len(r.changed), c.nudges, open)
			}
		})
	}
}
