// Package run executes a plan on a mesh and leaves a record. It judges nothing: whatever happens, the record says it, and
// package check reads it.
package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/load/fortiorest"
	"squall/internal/load/worker"
	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
	"squall/internal/traffic/collect"
	"squall/internal/traffic/page"
)

// Times that bound what ought to be quick. They are limits, not waits.
const (
	readyWithin    = 90 * time.Second // workloads of the fixtures
	liveWithin     = 20 * time.Second // a change at all proxies; a listener waits 15 s for a Secret
	gatherWithin   = 20 * time.Second // stats and access logs after a phase
	usageWithin    = time.Minute      // what pods used, longer than any meter takes
	rollbackWithin = 60 * time.Second
	deathWithin    = 100 * time.Millisecond // from what a process's death breaks to the news of it
)

// A file of the run's folder that holds room for the end of the record while the run is under way.
const (
	reserveFile = "reserve"
	reserve     = 256 << 10
)

// Progress is told what a run is doing, from several goroutines.
type Progress interface {
	Phase(name string)
	Say(format string, args ...any)
	Load(phase string, elapsed time.Duration, asked int64, s load.Snapshot)
}

// Options are what a run needs.
type Options struct {
	Plan     *plan.Plan
	Env      mesh.Env
	Record   *record.Run
	Manifest record.Manifest // RunID, Scenario, File, Env, Seed and versions that the env does not know
	Progress Progress
	// MeshDir is the working folder of the mesh's processes, for a rollback after the run was killed; empty when they are not
	// on this machine.
	MeshDir string
	// Cluster is where the mesh is, nil when it ends with the run.
	Cluster *mesh.Target
	// Records says where interface traffic goes; nil is that none is collected.
	Records *collect.Options
	// Page shows the interface traffic while the run goes on, from when its store is there; nil is that nobody looks. The run ends it.
	Page *page.Running
}

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ Name string }

// Error names the signal.
func (e *SignalError) Error() string { return "interrupted by " + e.Name }

// haltError is the cause of a context that a halt condition ended.
type haltError struct{ reason string }

func (e *haltError) Error() string { return e.reason }

// meshError is the cause of a context that the death of a part of the mesh ended.
type meshError struct{ err error }

func (e *meshError) Error() string { return e.err.Error() }
func (e *meshError) Unwrap() error { return e.err }

// runner is one run under way.
type runner struct {
	Options
	base     time.Time
	man      record.Manifest
	events   *record.EventLog
	objects  *mesh.Objects
	journal  *Journal
	mirror   *mirror // nil when the mesh ends with the run
	recorder *recorder
	frees    []*freed // stops that end by themselves

	proxies   []record.Proxy  // as they are now
	silent    []record.Proxy  // those that cannot be asked, until the rollback
	held      []mesh.Workload // whose pods may cease to be ready, until the rollback
	cut       []string        // pods whose proxies hear nothing from istiod, until the rollback
	stuck     []mesh.Workload // whose rollout does not come to its end, until the rollback
	acting    []*acting       // of the phase under way
	ever      []record.Proxy  // all that there were
	starts    map[string]started
	configs   map[string]*mesh.Config // of the proxies, when they were enlisted
	before    map[string]*mesh.Config // each proxy's configuration before the first change
	workloads bool                    // a change was about what is not Istio's, so that pods may have come and gone

	applied   []*unstructured.Unstructured // what the API stored of the changes that are in force
	changed   []record.Object
	unsaved   error                                   // what the rollback could not write of the proxies
	originals map[mesh.Ref]*unstructured.Unstructured // what the rollback restored, nil before it
	flows     flows
}

// Run executes the plan. It returns an error only when the record itself could not be written; everything else that goes wrong
// is in the record. The rollback runs whatever happens: failure, panic, the end of ctx. The mesh is down afterwards.
func Run(ctx context.Context, o Options) (err error) {
	r := &runner{Options: o, base: time.Now(), man: o.Manifest}
	if err := r.begin(); err != nil {
		return errors.Join(err, o.Env.Down(context.WithoutCancel(ctx))) // which has a folder already
	}
	defer func() {
		err = errors.Join(err, r.events.Close())
	}()
	timeout := time.Duration(o.Plan.Scenario.Spec.Timeout)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limited, stop := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the run took longer than its timeout of %s", timeout))
	defer stop()
	go r.watchMesh(limited, cancel)

	failure := r.guarded(func() error { return r.forward(limited) })
	failure = errors.Join(failure, r.guarded(func() error { return r.back(limited, failure) }))
	if failure == nil {
		failure = context.Cause(limited) // what ended the run after all was done has been seen by nobody yet
	}
	down := r.guarded(func() error { return r.down(limited) })
	r.flows.close()
	return r.end(errors.Join(failure, down))
}

// watchMesh ends the run when a part of the mesh dies.
func (r *runner) watchMesh(ctx context.Context, cancel context.CancelCauseFunc) {
	select {
	case err := <-r.Env.Failed():
		cancel(&meshError{err})
	case <-ctx.Done():
	}
}

// guarded turns a panic into an error, so that the rollback runs after it.
func (r *runner) guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			buf := make([]byte, 16<<10)
			err = fmt.Errorf("panic: %v\n%s", p, buf[:runtime.Stack(buf, false)])
		}
	}()
	return f()
}

// begin writes what is judged, before anything starts. The manifest comes when all that it is judged by is there: by it a folder is that of a
// run.
func (r *runner) begin() (err error) {
	r.man.Start = r.base.UTC()
	if err := r.Record.WriteFile(reserveFile, make([]byte, reserve)); err != nil {
		return err
	}
	if err := r.Record.WriteJSON(record.SpecFile, r.Plan.Spec); err != nil {
		return err
	}
	if err := r.Record.WriteJSON(record.PlanFile, r.Plan.Document()); err != nil {
		return err
	}
	if err := r.writeOwner(nil); err != nil {
		return err
	}
	if err := r.Record.WriteJSON(record.ManifestFile, r.man); err != nil {
		return err
	}
	if r.events, err = r.Record.Events(); err != nil {
		return err
	}
	if r.journal, err = OpenJournal(r.Record.Path(record.JournalFile)); err != nil {
		return err
	}
	r.journal.Holder, _ = r.Env.(mesh.Holder)
	r.journal.Flow = r.flow
	return nil
}

// end writes how the run ended.
func (r *runner) end(failure error) error {
	freed := os.Remove(r.Record.Path(reserveFile)) // so that a disk that is full has room for the end of the record
	now := time.Now().UTC()
	r.man.End = &now
	r.man.Ended = record.Completed
	var sig *SignalError
	var halt *haltError
	var dead *meshError
	var lost *worker.LostError
	var mismatch *fortiorest.MismatchError
	var back *revertedError
	switch {
	case errors.As(failure, &halt):
		r.man.Ended, r.man.Error = record.Halted, halt.reason
	case errors.As(failure, &lost) && !errors.As(failure, &dead) && !errors.As(failure, &sig):
		r.man.Ended, r.man.Error = record.Lost, lost.Error()
	case errors.As(failure, &mismatch) && !errors.As(failure, &dead) && !errors.As(failure, &sig):
		r.man.Ended, r.man.Error = record.Lost, failure.Error()
	case errors.As(failure, &back) && !errors.As(failure, &dead) && !errors.As(failure, &sig):
		r.man.Ended, r.man.Error = record.Reverted, failure.Error()
	case errors.As(failure, &sig):
		r.man.Ended, r.man.Signal, r.man.Error = record.Interrupted, sig.Name, failure.Error()
	case failure != nil:
		r.man.Ended, r.man.Error = record.Broken, failure.Error()
	}
	if failure != nil {
		r.event(record.Event{Kind: "error", Text: failure.Error()})
	}
	return errors.Join(freed, r.Record.WriteJSON(record.ManifestFile, r.man), r.Record.WriteJSON(record.ObjectsFile, r.changed), r.journal.Close())
}

// down ends the mesh. Each part has its own time: one that hangs, such as a store of records that is down, takes none of what is to be
// removed after it.
func (r *runner) down(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	ended := within(ctx, recordsWithin, r.endRecords) // its store may be in the mesh
	taking, cancel := context.WithTimeoutCause(ctx, rollbackWithin, fmt.Errorf("not within %s", rollbackWithin))
	defer cancel()
	r.takeDown(taking)
	return errors.Join(ended, within(ctx, rollbackWithin, r.Env.Down))
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	return do(ctx)
}

func (r *runner) since() float64 { return time.Since(r.base).Seconds() }

// event adds to the timeline. A timeline that cannot be written is noticed when it is closed.
func (r *runner) event(e record.Event) {
	if e.At == 0 {
		e.At = r.since()
	}
	_ = r.events.Append(e) // the writer keeps its first error, and Close returns it
}

// forward brings the mesh up, deploys the fixtures and goes through the phases.
func (r *runner) forward(ctx context.Context) error {
	if err := r.deploy(ctx); err != nil {
		return r.explain(ctx, err)
	}
	for i := range r.Plan.Phases {
		p := &r.Plan.Phases[i]
		if err := r.phase(ctx, p); err != nil {
			return r.explain(ctx, fmt.Errorf("%s: %w", p.Name, err))
		}
		promote, why := check.JudgeGate(r.Record, r.Plan.Spec, p.Name)
		if !promote {
			r.gate(p.Name, why)
			break
		}
	}
	return nil
}

// gate says that the run ends after a phase, because its gate did not promote.
func (r *runner) gate(phase, why string) {
	text := "the gate does not promote: " + why
	r.event(record.Event{Phase: phase, Kind: "gate", Text: text})
	r.Progress.Say("%s: %s", phase, text)
}

// explain puts the reason why ctx ended before what failed because of it. Where a part of the mesh is the reason, the failure is
// often seen before its death is: that is waited for.
func (r *runner) explain(ctx context.Context, err error) error {
	var halt *haltError
	if !errors.As(err, &halt) {
		death := time.NewTimer(deathWithin)
		defer death.Stop()
		select {
		case <-ctx.Done():
		case <-death.C:
		}
	}
	why := context.Cause(ctx)
	if why == nil || errors.Is(err, why) {
		return err
	}
	return fmt.Errorf("%w (%w)", why, err)
}
