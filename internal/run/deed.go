package run

import (
	"context"
	"fmt"

	"squall/internal/mesh"
)

// What is done to pods and nodes beside changes of objects: the values of Deed.Action.
const (
	Killed   = "killed"
	Evicted  = "evicted"
	Held     = "stopped"
	Cordoned = "cordoned"
	Set      = "set" // settings of flow control
)

// Deed is something that is done to a pod of the entry's Deployment, or to a node, and that no object of before undoes.
type Deed struct {
	Action string `json:"action"`
	Target string `json:"target"`         // the pod or node
	UID    string `json:"uid,omitempty"`  // of the pod
	Part   string `json:"part,omitempty"` // of the pod that was stopped: record.App or record.Sidecar
	// Settings are what was set of the flow control of a service.
	Settings *Settings `json:"settings,omitempty"`
}

// AddDeed notes a deed; it returns when the entry is on disk. After an error it is not there, and the deed must not be done.
func (j *Journal) AddDeed(phase, step string, of mesh.Ref, deed Deed) error {
	if err := j.write(Entry{Seq: j.seq + 1, Phase: phase, Step: step, Ref: of, Deed: &deed}); err != nil {
		return fmt.Errorf("journal: that %s is to be %s could not be noted, so nothing was done: %w", deed.Target, deed.Action, err)
	}
	return nil
}

// undo makes up for what the entry is about: the object of before is restored. Of a deed its own undo is done: pods that ended are
// waited for, what was stopped goes on, and nodes take pods again.
func (j *Journal) undo(ctx context.Context, o *mesh.Objects, e Entry) error {
	switch {
	case e.Deed == nil:
		return j.restore(ctx, o, e)
	case e.Deed.Action == Held && j.Holder == nil:
		return fmt.Errorf("%s: the %s of pod %s is stopped, and the environment cannot let it go on", e.Step, e.Deed.Part, e.Deed.Target)
	case e.Deed.Action == Held:
		return j.Holder.Release(e.Deed.Target, e.Deed.Part)
	case e.Deed.Action == Cordoned:
		return o.Cordon(ctx, e.Deed.Target, false)
	case e.Deed.Action == Set:
		return j.reset(ctx, e)
	}
	if now, err := o.Get(ctx, e.Ref); now == nil || err != nil {
		return err // nobody is left to bring pods
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not within %s", readyWithin))
	defer cancel()
	return o.AwaitWorkload(ctx, mesh.Workload{Namespace: e.Ref.Namespace, Name: e.Ref.Name})
}
