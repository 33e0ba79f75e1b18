package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"squall/internal/flowcontrol"
	"squall/internal/mesh"
	"squall/internal/plan"
	"squall/internal/record"
)

// holdsEvery is between two looks at settings that were changed.
const holdsEvery = 50 * time.Millisecond

// Settings are what a step made of the flow control of a service.
type Settings struct {
	At     flowcontrol.Place  `json:"at"`
	Before flowcontrol.Change `json:"before"` // the undo
	Made   flowcontrol.Change `json:"made"`
}

// set makes the phase's changes of flow control, each noted in the journal before, and waits until they are in force.
func (r *runner) set(ctx context.Context, p *plan.Phase) error {
	for _, s := range p.Settings {
		if err := r.setOne(ctx, p, s); err != nil {
			return fmt.Errorf("%s: %w", s.Step, err)
		}
	}
	return nil
}

func (r *runner) setOne(ctx context.Context, p *plan.Phase, s plan.SettingsChange) error {
	client, err := r.flow(ctx, s.At)
	if err != nil {
		return err
	}
	if !s.Block {
		if _, err := client.Stats(ctx, ""); err != nil { // before anything is changed of a service that has no flow control
			return ofService(s.At, err)
		}
	}
	before, err := client.Undo(ctx, s.Change)
	if err != nil {
		return ofService(s.At, err)
	}
	deed := Deed{Action: Set, Target: s.At.Name, Settings: &Settings{At: s.At, Before: before, Made: s.Change}}
	if err := r.noteDeedOf(ctx, p.Name, s.Step, settingsRef(s.At), deed); err != nil {
		return err
	}
	start, at := time.Now(), r.since()
	if err := client.Apply(ctx, s.Change); err != nil {
		return ofService(s.At, err)
	}
	if err := awaitInForce(ctx, client, s.Change); err != nil {
		return ofService(s.At, err)
	}
	if s.For > 0 {
		r.takeBackLater(ctx, p.Name, s, deed.Settings)
	}
	took := time.Since(start)
	r.changed = append(r.changed, record.Object{
		Phase: p.Name, Action: "changed", Kind: "Settings", Name: s.At.String(), Before: changeText(before), After: changeText(s.Change),
	})
	r.event(record.Event{Phase: p.Name, Kind: "apply", Text: s.Step + ": " + s.String()})
	r.event(record.Event{At: at, Took: took.Seconds(), Phase: p.Name, Kind: "live", Text: s.Step + ": in force at " + s.At.Name})
	r.Progress.Say("%s: flow control of %s set after %.0f ms", p.Name, s.At.Name, float64(took.Microseconds())/1000)
	return nil
}

func changeText(c flowcontrol.Change) string {
	b, err := yaml.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// awaitInForce waits until a change that was made has its effect. A transient setting over it does not pass by itself, and ends the wait.
func awaitInForce(ctx context.Context, client *flowcontrol.Client, made flowcontrol.Change) error {
	if err := awaitHolds(ctx, client, made); err != nil {
		return err
	}
	return client.InForce(ctx, made)
}

// awaitHolds waits until the settings are what a change, or its undo, makes them.
func awaitHolds(ctx context.Context, client *flowcontrol.Client, change flowcontrol.Change) error {
	ctx, cancel := context.WithTimeoutCause(ctx, liveWithin, fmt.Errorf("the settings were not in force within %s", liveWithin))
	defer cancel()
	tick := time.NewTicker(holdsEvery)
	defer tick.Stop()
	for {
		err := client.Holds(ctx, change)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// reset makes settings what they were before a deed, unless somebody else has changed them since and nothing is decided.
func (j *Journal) reset(ctx context.Context, e Entry) error {
	s, ask := e.Deed.Settings, j.Flow
	if s == nil {
		return fmt.Errorf("%s: what was set is not in the journal", e.Step)
	}
	if ask == nil {
		ask = NewFlow(nil, nil)
	}
	client, err := ask(ctx, s.At)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Step, err)
	}
	var differs *flowcontrol.DifferenceError
	switch err := client.Holds(ctx, s.Before); {
	case err == nil:
		return nil
	case errors.As(err, &differs):
	case j.made(s.At):
		return nil // it goes, and what was set of it
	default:
		return fmt.Errorf("%s: %w", e.Step, ofService(s.At, err))
	}
	if err := client.HoldsEither(ctx, s.Made, s.Before); err != nil {
		if !errors.As(err, &differs) {
			return fmt.Errorf("%s: %w", e.Step, ofService(s.At, err))
		}
		switch j.Foreign {
		case Leave:
			return &ForeignError{e.Ref, fmt.Sprintf("somebody changed %s: it is %s, and the run made it %s", differs.Key, differs.Now, differs.Want)}
		case Keep:
			j.keep(e.Ref)
			return nil
		}
	}
	if err := client.Apply(ctx, s.Before); err != nil {
		return fmt.Errorf("%s: %w", e.Step, ofService(s.At, err))
	}
	if err := awaitHolds(ctx, client, s.Before); err != nil {
		return fmt.Errorf("%s: %w", e.Step, ofService(s.At, err))
	}
	return nil
}

// made reports a Service that the run itself has made.
func (j *Journal) made(at flowcontrol.Place) bool {
	ref := mesh.Ref{APIVersion: "v1", Kind: "Service", Namespace: at.Namespace, Name: at.Service}
	return at.URL == "" && slices.ContainsFunc(j.open, func(e Entry) bool { return e.Deed == nil && e.Before == nil && identify(e.Ref) == identify(ref) })
}

// keep notes that an object was decided to be kept as it is.
func (j *Journal) keep(ref mesh.Ref) {
	if j.kept == nil {
		j.kept = map[identity]bool{}
	}
	j.kept[identify(ref)] = true
}

// settingsRef names the settings of a service in the journal.
func settingsRef(at flowcontrol.Place) mesh.Ref {
	name := at.Service
	if at.URL != "" {
		name = strings.TrimSuffix(at.URL, "/")
	}
	return mesh.Ref{APIVersion: "flowcontrol/v1", Kind: "Settings", Namespace: at.Namespace, Name: name}
}
