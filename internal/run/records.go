package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/mesh"
	"squall/internal/record"
	"squall/internal/traffic"
	"squall/internal/traffic/collect"
	"squall/internal/traffic/page"
	"squall/internal/traffic/store"
)

// firstWithin is how long a proxy that was there before the run may take to send what it has kept; what does not come then was finished
// before it was told to send.
const firstWithin = 2 * time.Second

// arriveWithin bounds how long all proxies may take to send the records of a load.
const arriveWithin = gatherWithin / 2

// recordsWithin bounds how long the end of the records may take, and writtenWithin the page of them, for which the store has to take all that
// is pending: it may be down. What it has not taken then is in the spool, or is said to be lost.
const (
	recordsWithin = 30 * time.Second
	writtenWithin = 20 * time.Second
)

// readWithin bounds how long access logs of a load are read: millions of lines.
const readWithin = 2 * time.Minute

// recorder takes the interface traffic of the run. A nil one takes none.
type recorder struct {
	*collect.Collector
	stop   context.CancelFunc
	served chan error
	// base is how many requests a proxy had finished before it sent records, by pod.
	base    map[string]int64
	missing []error // of the phase: what did not come in time
	waited  uint64  // of the phases before: records that were on disk for some time
}

// stage is what records that come from now on belong to.
func (c *recorder) stage(name string) {
	if c != nil {
		c.Stage(name)
	}
}

// openRecords opens the store, if it is not in the mesh: a wrong password is told before anything is there.
func (r *runner) openRecords(ctx context.Context) error {
	if r.Options.Records == nil {
		return nil
	}
	c, err := collect.New(*r.Options.Records)
	if err != nil {
		return err
	}
	r.recorder = &recorder{Collector: c, served: make(chan error, 1), base: map[string]int64{}}
	if c.InMesh() != nil {
		return nil
	}
	return r.useStore(ctx, nil)
}

// useStore opens the store, and lets the page show it.
func (r *runner) useStore(ctx context.Context, dial func(ctx context.Context) (net.Conn, error)) error {
	if err := r.recorder.Use(ctx, dial); err != nil {
		return err
	}
	r.Page.Use(r.recorder.Reader())
	return nil
}

// collect begins to take the interface traffic, and returns the objects that make proxies send it.
func (r *runner) collect(ctx context.Context) ([]*unstructured.Unstructured, error) {
	if r.recorder == nil || r.recorder.ByLog() {
		return nil, nil
	}
	env, ok := r.Env.(mesh.Recorder)
	if !ok {
		return nil, fmt.Errorf("the environment %s cannot collect interface traffic", r.Env.Name())
	}
	l, objects, err := env.Records(ctx, r.Plan.ProxyNamespaces())
	if err != nil {
		return nil, fmt.Errorf("collect interface traffic: %w", err)
	}
	r.recorder.serve(ctx, l)
	return objects, nil
}

// readLogs makes records of what the proxies that were there in the phase have logged, also when the run was interrupted.
func (r *runner) readLogs(ctx context.Context, phase string, before []record.Proxy) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), readWithin, fmt.Errorf("not within %s", readWithin))
	defer cancel()
	r.recorder.stage(phase)
	defer r.recorder.stage("")
	read := map[string]bool{}
	for _, p := range slices.Concat(r.present(), before) {
		if read[p.Pod] {
			continue
		}
		read[p.Pod] = true
		log, err := r.Record.OpenAccess(phase, p.Pod)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it came when the load was over
		}
		if err == nil {
			err = errors.Join(r.recorder.ReadLog(ctx, loggedBy(&p), p.IP, p.Gateway, log), log.Close())
		}
		if err != nil { // the records are not whole, and that is said of the phase
			r.recorder.missing = append(r.recorder.missing, err)
		}
	}
}

// useMeshStore opens the store that the mesh has itself.
func (r *runner) useMeshStore(ctx context.Context) error {
	if r.recorder == nil || r.recorder.InMesh() == nil {
		return nil
	}
	s, dial := *r.recorder.InMesh(), mesh.PodDialer(r.Env)
	return r.useStore(ctx, func(ctx context.Context) (net.Conn, error) {
		return r.objects.DialService(ctx, dial, s.Namespace, s.Name, s.Port)
	})
}

// serve takes streams until endRecords.
func (c *recorder) serve(ctx context.Context, l net.Listener) {
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() { c.served <- c.Serve(ctx, l) }()
}

// endRecords takes no more, writes a page of what there is, and closes the store. The page that was served ends before: what goes wrong with
// it is said, and is no part of the run.
func (r *runner) endRecords(ctx context.Context) error {
	c := r.recorder
	if c == nil {
		return nil
	}
	var served error
	if c.stop != nil {
		c.stop()
		served = <-c.served
	}
	written := within(ctx, writtenWithin, func(ctx context.Context) error { return c.writePage(ctx, r.Record, r.man.RunID) })
	if err := r.Page.End(ctx); err != nil {
		r.Progress.Say("the page: %s", err)
	}
	return errors.Join(served, written, c.Close(ctx))
}

// writePage writes what the store has of the run as one page.
func (c *recorder) writePage(ctx context.Context, to *record.Run, run string) error {
	reader, err := c.Flushed(ctx)
	if reader == nil || err != nil {
		return err
	}
	var b bytes.Buffer
	if err := page.Export(ctx, reader, store.Filter{Run: run}, &b); err != nil {
		return fmt.Errorf("page of the interface traffic: %w", err)
	}
	return to.WriteFile(record.TrafficPage, b.Bytes())
}

// acquaint tells the recorder who is who.
func (r *runner) acquaint(ctx context.Context) error {
	if r.recorder == nil {
		return nil
	}
	pods := map[string]traffic.Workload{}
	var services []collect.Service
	for _, ns := range r.Plan.ProxyNamespaces() {
		list, err := mesh.Pods(ctx, r.objects, ns)
		if err != nil {
			return err
		}
		for _, p := range list {
			pods[p.Status.PodIP] = WorkloadOf(p)
		}
		found, err := r.objects.Services(ctx, ns)
		if err != nil {
			return err
		}
		for _, s := range found {
			services = append(services, collect.Service{Namespace: ns, Name: s.Name, IPs: s.Spec.ClusterIPs})
		}
	}
	r.recorder.Peers().Learn(pods, services)
	return nil
}

// WorkloadOf is what a pod is called in records. Of a pod behind several services it is of the one with the name of its label app, or
// else of the first.
func WorkloadOf(p mesh.Pod) traffic.Workload {
	return traffic.Workload{Namespace: p.Namespace, Name: mesh.WorkloadOf(p.Pod), Version: p.Labels["version"], Pod: p.Name, Service: serviceOf(p.Services, p.Labels)}
}

// loggedBy is the workload of a proxy, as WorkloadOf is of its pod.
func loggedBy(p *record.Proxy) traffic.Workload {
	return traffic.Workload{Namespace: p.Namespace, Name: p.Workload, Version: p.Labels["version"], Pod: p.Pod, Service: serviceOf(p.Services, p.Labels)}
}

func serviceOf(services []string, labels map[string]string) (name string) {
	for _, s := range services {
		if name == "" || s == labels["app"] {
			name = s
		}
	}
	return name
}

// awaitAll waits until the proxies have sent the records of the requests that they have finished, by pod. It leaves time for what else is
// looked at behind a load.
func (c *recorder) awaitAll(ctx context.Context, finished map[string]int64) {
	if c == nil || c.ByLog() { // nothing is sent
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, arriveWithin, fmt.Errorf("not within %s", arriveWithin))
	defer cancel()
	for _, pod := range slices.Sorted(maps.Keys(finished)) {
		c.await(ctx, pod, finished[pod])
	}
}

// await waits until a proxy has sent the records of the requests that it has finished. What does not come is noted for the phase.
func (c *recorder) await(ctx context.Context, pod string, finished int64) {
	base, known := c.base[pod]
	if !known {
		first, cancel := context.WithTimeout(ctx, firstWithin)
		defer cancel()
		if c.AwaitArrived(first, pod, finished) != nil {
			base = finished - c.Arrived(pod)
		}
		c.base[pod] = base
	}
	if err := c.AwaitArrived(ctx, pod, finished-base); err != nil {
		c.missing = append(c.missing, err)
		c.base[pod] = finished - c.Arrived(pod) // it is missing in this phase alone
	}
}

// saveRecords writes what the store has of a phase. Before are the proxies that were there when it began.
func (r *runner) saveRecords(ctx context.Context, phase string, before []record.Proxy) error {
	if r.recorder == nil {
		return nil
	}
	if r.recorder.ByLog() {
		r.readLogs(ctx, phase, before)
	}
	return r.recorder.save(ctx, r.Record, phase)
}

// save writes what the store has of a phase.
func (c *recorder) save(ctx context.Context, to *record.Run, phase string) error {
	got, err := c.Read(ctx, phase)
	out := record.Traffic{Store: got.Store, Complete: "ok", Received: got.Account.Received, Known: got.Account.Duplicates, Dropped: got.Account.Dropped}
	if out.Waited = got.Account.Waited - c.waited; out.Waited > 0 {
		out.Refused = got.Account.LastError
	}
	c.waited = got.Account.Waited
	if err = errors.Join(append(c.missing, err)...); err != nil {
		out.Complete = err.Error()
	}
	c.missing = nil
	for i := range got.Groups {
		out.Groups = append(out.Groups, trafficGroup(&got.Groups[i]))
	}
	return to.WriteTraffic(phase, out)
}

func trafficGroup(g *store.Group) record.TrafficGroup {
	s := &g.Summary
	return record.TrafficGroup{
		Reporter: string(g.Reporter), SourceNamespace: g.SourceNamespace, Source: g.Source, Namespace: g.Namespace, Service: g.Service,
		Workload: g.Workload, Version: g.Version, Method: g.Method, Interface: g.Interface, Code: g.Code, Flags: g.Flags,
		Records: int64(s.Records), Failed: int64(s.Errors), Sum: s.Sum.Seconds(), Min: s.Min.Seconds(), Max: s.Max.Seconds(), //nolint:gosec // numbers of requests
		Buckets: s.AppendHistogram(nil),
	}
}
