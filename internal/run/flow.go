package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"

	"squall/internal/flowcontrol"
	"squall/internal/mesh"
	"squall/internal/record"
)

// Flow is how the flow control of a service is asked.
type Flow func(ctx context.Context, at flowcontrol.Place) (*flowcontrol.Client, error)

// NewFlow asks services of the mesh by their pods, and others at their addresses. Without objects only the latter can be asked.
func NewFlow(objects *mesh.Objects, dial mesh.DialPod) Flow {
	return func(_ context.Context, at flowcontrol.Place) (*flowcontrol.Client, error) {
		o, err := at.Options()
		if err != nil {
			return nil, err
		}
		if at.URL == "" {
			if objects == nil {
				return nil, fmt.Errorf("flow control of %s: it was in the mesh, which is not there", at.Name)
			}
			o.Dial = func(ctx context.Context) (net.Conn, error) {
				return objects.DialService(ctx, dial, at.Namespace, at.Service, at.Port)
			}
		}
		return flowcontrol.New(o)
	}
}

// flows are the clients of a run: one for each service, whose connection is kept, so that the run adds none while a load runs.
type flows map[flowcontrol.Place]*flowcontrol.Client

func (f flows) close() {
	for _, c := range f {
		c.Close()
	}
}

// flow is the run's client of a service.
func (r *runner) flow(ctx context.Context, at flowcontrol.Place) (*flowcontrol.Client, error) {
	if c, ok := r.flows[at]; ok {
		return c, nil
	}
	c, err := NewFlow(r.objects, mesh.PodDialer(r.Env))(ctx, at)
	if err != nil {
		return nil, err
	}
	if r.flows == nil {
		r.flows = flows{}
	}
	r.flows[at] = c
	return c, nil
}

// ofService says whose flow control an error is about, and what to do about one that is about credentials.
func ofService(at flowcontrol.Place, err error) error {
	if err == nil {
		return nil
	}
	var said *flowcontrol.Error
	if errors.As(err, &said) && (said.Status == http.StatusUnauthorized || said.Status == http.StatusForbidden) {
		return fmt.Errorf("%s: %w: %s", at.Name, err, whoAsks(at.Credentials))
	}
	return fmt.Errorf("%s: %w", at.Name, err)
}

func whoAsks(c flowcontrol.Credentials) string {
	switch {
	case c.APIKey != (flowcontrol.Secret{}):
		return fmt.Sprintf("check the API key in %s, and that it may read statistics and change settings", c.APIKey)
	case c.Username != "":
		return fmt.Sprintf("check the password of %s in %s, and that the user may read statistics and change settings", c.Username, c.Password)
	}
	return "write credentials in the step"
}

// flowCounts saves what flow control has counted so far. What cannot be read is no error: the record says why.
func (r *runner) flowCounts(ctx context.Context, phase string, when record.When) error {
	if len(r.Plan.Flow) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, gatherWithin)
	defer cancel()
	var out []record.FlowControl
	for _, at := range r.Plan.Flow {
		f, err := r.countsOf(ctx, at)
		if err == nil && when == record.After {
			err = r.holds(ctx, at) // what forgot its settings has begun anew
		}
		f.Service = at.Name
		if err != nil {
			f = record.FlowControl{Service: at.Name, Missing: err.Error()}
		}
		out = append(out, f)
	}
	return r.Record.WriteFlowControl(phase, when, out)
}

func (r *runner) countsOf(ctx context.Context, at flowcontrol.Place) (out record.FlowControl, err error) {
	client, err := r.flow(ctx, at)
	if err != nil {
		return out, err
	}
	if at.URL == "" {
		_, pods, err := r.objects.ServicePods(ctx, at.Namespace, at.Service)
		if err != nil {
			return out, err
		}
		for i := range pods {
			restarts := int32(0)
			for _, c := range pods[i].Status.ContainerStatuses {
				restarts += c.RestartCount
			}
			out.Instances = append(out.Instances, fmt.Sprintf("%s (%s, %d restarts)", pods[i].Name, pods[i].UID, restarts))
		}
	}
	nodes, err := client.Stats(ctx, "")
	if err != nil {
		return out, ofService(at, err)
	}
	own, err := client.Nodes(ctx)
	if err != nil {
		return out, ofService(at, err)
	}
	for i := range nodes {
		n := &nodes[i]
		this, ok := own[n.ID]
		if !ok {
			return out, fmt.Errorf("%s: Elasticsearch tells nothing of its node %s", at.Name, n.ID)
		}
		counts := map[string]int64{"node.current_open": this.Current, "node.total_opened": this.Total}
		for _, name := range flowcontrol.CounterNames() {
			counts[name], _ = n.Counter(name)
		}
		out.Nodes = append(out.Nodes, record.FlowNode{ID: n.ID, Name: n.Name, Started: this.Started, Counts: counts})
	}
	return out, nil
}

// settingsHold is an error when somebody else changed a setting of the stages so far while the load ran.
func (r *runner) settingsHold(ctx context.Context) error {
	var errs []error
	for at := range r.settings() {
		errs = append(errs, r.holds(ctx, at))
	}
	for _, f := range r.frees {
		_, err := r.isBack(f.made)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// holds is settingsHold for one service.
func (r *runner) holds(ctx context.Context, at flowcontrol.Place) error {
	made, ok := r.settings()[at]
	if !ok {
		return nil
	}
	client, err := r.flow(ctx, at)
	if err == nil {
		err = client.InForce(ctx, made)
	}
	var differs *flowcontrol.DifferenceError
	if errors.As(err, &differs) {
		return reverted("the change was reverted during the stage at %s, by somebody or by a new start: %s, and the stage made it %s",
			at.Name, differs.State(), differs.Want)
	}
	return err
}

// settings are what the stages so far have made of the flow control of services, but for what its time has ended of.
func (r *runner) settings() map[flowcontrol.Place]flowcontrol.Change {
	out := map[flowcontrol.Place]flowcontrol.Change{}
	for _, e := range r.journal.Open() {
		if e.Deed == nil || e.Deed.Settings == nil {
			continue
		}
		s := e.Deed.Settings
		if back, _ := r.isBack(s); back {
			continue
		}
		out[s.At] = flowcontrol.Change{Persistent: with(out[s.At].Persistent, s.Made.Persistent), Transient: with(out[s.At].Transient, s.Made.Transient)}
	}
	return out
}

func with(base, more map[string]any) map[string]any {
	if len(base)+len(more) == 0 {
		return nil
	}
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	maps.Copy(out, more)
	return out
}

// OpenOutside reports whether settings of a service outside of the mesh are still to be undone.
func (j *Journal) OpenOutside() bool { return slices.ContainsFunc(j.open, Outside) }

// Outside says whether an entry is about a service outside of the mesh, which outlives it.
func Outside(e Entry) bool {
	return e.Deed != nil && e.Deed.Settings != nil && e.Deed.Settings.At.URL != ""
}
