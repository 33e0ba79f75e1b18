package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/check"
	"squall/internal/load"
)

// Document is a plan for people and for plan.json: exactly what would be done.
type Document struct {
	APIVersion string   `json:"apiVersion"` // squall/v1alpha1
	Kind       string   `json:"kind"`       // Plan
	Scenario   string   `json:"scenario"`
	Hypothesis string   `json:"hypothesis"`
	Fixtures   []Object `json:"fixtures"` // created first, removed with the mesh
	// Generator is what makes the calls when it is not Squall itself, and Lost what is lost by it, each with what there is instead.
	Generator Generator       `json:"loadGenerator,omitempty"`
	Lost      []string        `json:"lost,omitempty"`
	Phases    []PhaseDocument `json:"phases"`
	// Findings are rules that do not do what they seem to.
	Findings []string `json:"findings,omitempty"`
	// Restored are the objects that the rollback brings back, or deletes where Before is empty.
	Restored []Object `json:"restored"`
}

// Object is one object of a plan.
type Object struct {
	Action string         `json:"action"` // created, changed, restored or deleted
	Object string         `json:"object"` // kind and name
	Step   string         `json:"step,omitempty"`
	Before map[string]any `json:"before,omitempty"`
	After  map[string]any `json:"after,omitempty"`
}

// PhaseDocument is one phase of a plan.
type PhaseDocument struct {
	Name    string   `json:"name"`
	Objects []Object `json:"objects,omitempty"`
	Actions []string `json:"actions,omitempty"` // what is done to pods
	// Settings are changes of flow control.
	Settings []string      `json:"settings,omitempty"`
	ApplyAt  float64       `json:"applyAt,omitempty"` // the share of the load after which the objects are applied
	SignIn   string        `json:"signIn,omitempty"`  // the request before the load, without what may be secret
	Load     load.Spec     `json:"load"`
	Workers  int           `json:"workers,omitempty"` // the pods that make the calls, when they are several
	Checks   []check.Stmt  `json:"checks"`
	Gate     *check.Gate   `json:"gate,omitempty"`
	Proofs   []check.Proof `json:"proofs,omitempty"`
	// Unproven is what the steps do without a proof, each with its step and the reason.
	Unproven []string `json:"unproven,omitempty"`
	// Predictions are what the rules say will be measured; Unpredicted is why they do not say more.
	Predictions []check.Prediction `json:"predictions,omitempty"`
	Unpredicted []string           `json:"unpredicted,omitempty"`
	Halts       []string           `json:"halts,omitempty"`
}

// Document is the plan as data.
func (p *Plan) Document() Document {
	d := Document{
		APIVersion: "squall/v1alpha1", Kind: "Plan", Scenario: p.Spec.Scenario, Hypothesis: p.Spec.Hypothesis,
	}
	for _, o := range p.Fixtures {
		d.Fixtures = append(d.Fixtures, Object{Action: "created", Object: name(o), After: o.Object})
	}
	if p.Generator == Fortio {
		d.Generator = p.Generator
		for _, l := range p.Generator.Lost() {
			d.Lost = append(d.Lost, l.String())
		}
	}
	for _, f := range p.Findings {
		d.Findings = append(d.Findings, f.String())
	}
	phases := p.Phases
	if p.Recovery != nil {
		phases = append(phases[:len(phases):len(phases)], *p.Recovery)
	}
	seen := map[id]bool{}
	for i, ph := range phases {
		doc := PhaseDocument{Name: ph.Name, Load: ph.Load, ApplyAt: ph.ApplyAt}
		if ph.Workers > 1 {
			doc.Workers = ph.Workers
		}
		if ph.SignIn != nil {
			doc.SignIn = ph.SignIn.String()
		}
		for _, c := range ph.Changes {
			o := Object{Action: "changed", Object: name(c.After), Step: c.Step, After: c.After.Object}
			back := Object{Action: "restored", Object: o.Object}
			if c.Before == nil {
				o.Action, back.Action = "created", "deleted"
			} else {
				o.Before, back.After = c.Before.Object, c.Before.Object
			}
			doc.Objects = append(doc.Objects, o)
			if key := idOf(c.After); !seen[key] {
				seen[key] = true
				d.Restored = append(d.Restored, back)
			}
		}
		for _, a := range ph.Actions {
			if text := a.String(); text != "" {
				doc.Actions = append(doc.Actions, text)
			}
		}
		for _, s := range ph.Settings {
			doc.Settings = append(doc.Settings, s.Step+" "+s.String())
			if name := "settings of flow control at " + s.At.String(); !slices.ContainsFunc(d.Restored, func(o Object) bool { return o.Object == name }) {
				d.Restored = append(d.Restored, Object{Action: "restored", Object: name})
			}
		}
		for _, h := range ph.Halts {
			doc.Halts = append(doc.Halts, h.String())
		}
		if i < len(p.Spec.Phases) {
			judged := p.Spec.Phases[i]
			doc.Checks, doc.Proofs, doc.Gate = judged.Checks, judged.Proofs, judged.Gate
			doc.Unproven = judged.Unproven
			doc.Predictions, doc.Unpredicted = judged.Predictions, judged.Unpredicted
		}
		d.Phases = append(d.Phases, doc)
	}
	return d
}

func name(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + strings.TrimPrefix(u.GetNamespace()+"/"+u.GetName(), "/")
}

// String is the plan as text: every object as YAML, every load, every statement.
func (d Document) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %s\nhypothesis: %s\n\nfixtures\n", d.Scenario, d.Hypothesis)
	for _, o := range d.Fixtures {
		fmt.Fprintf(&b, "  created %s\n", o.Object)
	}
	if d.Generator != "" {
		fmt.Fprintf(&b, "\nloads are made by %s, which tells of no single call; what is lost by that:\n", d.Generator)
		for _, l := range d.Lost {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	for _, ph := range d.Phases {
		ph.write(&b)
	}
	b.WriteString("\nrollback\n")
	for _, o := range d.Restored {
		fmt.Fprintf(&b, "  %s %s\n", o.Action, o.Object)
		if o.After != nil {
			b.WriteString(indent(o.After))
		}
	}
	return b.String()
}

func (ph PhaseDocument) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nphase %s\n", ph.Name)
	when := ""
	if ph.ApplyAt > 0 {
		when = fmt.Sprintf(", after %g %% of the load", ph.ApplyAt*100)
	}
	for _, o := range ph.Objects {
		fmt.Fprintf(b, "  %s %s (%s%s)\n%s", o.Action, o.Object, o.Step, when, indent(o.After))
	}
	for _, a := range ph.Actions {
		fmt.Fprintf(b, "  %s%s\n", a, when)
	}
	for _, s := range ph.Settings {
		fmt.Fprintf(b, "  %s%s\n", s, when)
	}
	if ph.SignIn != "" {
		fmt.Fprintf(b, "  signs in by %s\n", ph.SignIn)
	}
	by := ""
	if ph.Workers > 1 {
		by = fmt.Sprintf(", by %d workers", ph.Workers)
	}
	fmt.Fprintf(b, "  load %s%s\n", describe(ph.Load), by)
	for _, c := range ph.Checks {
		fmt.Fprintf(b, "  check %s\n", c.Expr)
	}
	for _, p := range ph.Predictions {
		fmt.Fprintf(b, "  predicted %s (%s)\n", p, p.Why)
	}
	for _, why := range ph.Unpredicted {
		fmt.Fprintf(b, "  not predicted: %s\n", why)
	}
	for _, p := range ph.Proofs {
		if p.Expr == "" {
			fmt.Fprintf(b, "  no proof of %s, so that the run cannot pass: %s\n", p.Step, p.Text)
			continue
		}
		fmt.Fprintf(b, "  proof of %s: %s\n", p.Step, p.Expr)
	}
	for _, why := range ph.Unproven {
		fmt.Fprintf(b, "  not proven: %s\n", why)
	}
	if ph.Gate != nil {
		for _, c := range ph.Gate.Promote {
			fmt.Fprintf(b, "  gate promotes when %s (expected: %s)\n", c.Expr, ph.Gate.Expect)
		}
	}
	for _, h := range ph.Halts {
		fmt.Fprintf(b, "  halt when %s\n", h)
	}
}

func indent(o map[string]any) string {
	y, err := yaml.Marshal(o)
	if err != nil {
		return "    " + err.Error() + "\n"
	}
	return "    " + strings.ReplaceAll(strings.TrimRight(string(y), "\n"), "\n", "\n    ") + "\n"
}

func describe(l load.Spec) string {
	amount := fmt.Sprintf("%d requests", l.Requests)
	if l.Requests == 0 {
		amount = l.Duration.String()
	}
	rate := "as fast as it can"
	if l.QPS > 0 {
		rate = fmt.Sprintf("%g/s", l.QPS)
	}
	return fmt.Sprintf("%s, %s on %d connections, %s", l.URL, amount, l.Connections, rate)
}
