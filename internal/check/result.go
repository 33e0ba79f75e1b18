package check

import (
	"fmt"
	"time"
)

// Verdict is the outcome of a check, of a phase or of a run. The zero value is Inconclusive, and Inconclusive fails CI.
type Verdict int

// The verdicts. Their order is not their weight: see Worst.
const (
	Inconclusive Verdict = iota
	Pass
	Fail
	Error
	Halted
)

func (v Verdict) String() string {
	switch v {
	case Inconclusive:
		return "INCONCLUSIVE"
	case Pass:
		return "PASS"
	case Fail:
		return "FAIL"
	case Error:
		return "ERROR"
	case Halted:
		return "HALTED"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict's name; anything else is an error, never a pass.
func (v *Verdict) UnmarshalText(b []byte) error {
	for known := Inconclusive; known <= Halted; known++ {
		if known.String() == string(b) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", b)
}

// Kind says what an outcome is about.
type Kind string

// The kinds of outcomes.
const (
	KindCheck    Kind = "check"    // one of the scenario's expressions
	KindProof    Kind = "proof"    // that a step's fault fired, on the edge it was meant for
	KindRollback Kind = "rollback" // that what was there is back
	KindHalt     Kind = "halt"     // a halt condition that broke the run off
	KindGate     Kind = "gate"     // whether the run went on after a stage, as the scenario expects
	// KindPrediction is that a measure came out as the rules of the phase say.
	KindPrediction Kind = "prediction"
	// KindRecords is that the client, the proxies and the store of interface-traffic records tell of the same requests.
	KindRecords Kind = "records"
)

// Outcome is one judged statement with its evidence.
type Outcome struct {
	Kind    Kind    `json:"kind"`
	Phase   string  `json:"phase,omitempty"`
	Name    string  `json:"name"` // the expression, or the step for a proof
	Text    string  `json:"text,omitempty"`
	Expr    string  `json:"expr,omitempty"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"` // one sentence with the figures
	// Limit is the expression's limit as written, such as "in [0.1, 0.95]".
	Limit    string    `json:"limit,omitempty"`
	Measures []Measure `json:"measures,omitempty"`
	// Predicted is the value that the rules give, of a prediction that has one.
	Predicted *float64 `json:"predicted,omitempty"`
	// Need is how many requests would have been needed, when too few is the reason.
	Need int64 `json:"need,omitempty"`
}

// Measure is one measured quantity of an expression. Seconds are the unit of times, 1 of ratios.
type Measure struct {
	Expr       string   `json:"expr"` // as written: ratio(code == 503)
	Value      *float64 `json:"value,omitempty"`
	Lo         *float64 `json:"lo,omitempty"` // interval at Confidence
	Hi         *float64 `json:"hi,omitempty"`
	Confidence float64  `json:"confidence,omitempty"`
	Method     string   `json:"method,omitempty"` // wilson, order-statistics, exact
	N          int64    `json:"n"`
	Unit       string   `json:"unit,omitempty"` // "s", "" or "requests"
	Source     string   `json:"source"`         // where it was read, such as "client records" or "stats of squall-load"
	Missing    string   `json:"missing,omitempty"`
}

// PhaseResult is the judged part of one phase: the baseline, a stage, or the recovery after the rollback.
type PhaseResult struct {
	Name     string    `json:"name"`
	Verdict  Verdict   `json:"verdict"`
	Reason   string    `json:"reason"`
	Outcomes []Outcome `json:"outcomes"`
	// Origins are where requests of the phase began to fail, the worst first, as far as interface traffic was collected.
	Origins []Origin `json:"origins,omitempty"`
	// NotRun is why the phase was left out, when a gate before it ended the run. Such a phase has no outcomes and no say in the
	// run's verdict.
	NotRun string `json:"notRun,omitempty"`
}

// Result is the verdict of a run: result.json.
type Result struct {
	APIVersion string            `json:"apiVersion"` // squall/v1alpha1
	Kind       string            `json:"kind"`       // Result
	RunID      string            `json:"runId"`
	Scenario   string            `json:"scenario"`
	File       string            `json:"file,omitempty"`
	Hypothesis string            `json:"hypothesis"`
	Env        string            `json:"env"`
	Seed       int64             `json:"seed"`
	Versions   map[string]string `json:"versions"`
	Start      time.Time         `json:"start"`
	Seconds    float64           `json:"seconds"`
	Verdict    Verdict           `json:"verdict"`
	Reason     string            `json:"reason"`
	ExitCode   int               `json:"exitCode"`
	Phases     []PhaseResult     `json:"phases"`
	Rollback   PhaseResult       `json:"rollback"`
}

// Spec is what a run is judged by; it is saved as spec.json before anything starts, so that judging needs nothing else.
type Spec struct {
	Scenario   string      `json:"scenario"`
	Hypothesis string      `json:"hypothesis"`
	Namespace  string      `json:"namespace"`
	Services   []string    `json:"services"` // short names that expressions may use as identifiers
	Phases     []PhaseSpec `json:"phases"`
}

// PhaseSpec is what one phase is judged by.
type PhaseSpec struct {
	Name   string  `json:"name"` // baseline, a stage's name, or recovery
	Checks []Stmt  `json:"checks"`
	Proofs []Proof `json:"proofs"`
	// Faults are the steps of this phase that inject something; each needs a proof by that Step name, or the phase is
	// INCONCLUSIVE.
	Faults []string `json:"faults,omitempty"`
	// Gate decides whether the phases after this one are run; nil is that they are.
	Gate *Gate `json:"gate,omitempty"`
	// Unproven is what the steps do without a proof, each with its step and the reason.
	Unproven []string `json:"unproven,omitempty"`
	// Predictions are what the rules of the phase say; Unpredicted is why they do not say more.
	Predictions []Prediction `json:"predictions,omitempty"`
	Unpredicted []string     `json:"unpredicted,omitempty"`
}

// Gate is the conditions under which a run goes on after a phase.
type Gate struct {
	Promote []Stmt `json:"promote"`
	Expect  string `json:"expect"` // promote or rollback
}

// Stmt is an expression as the author wrote it, with the place for error messages.
type Stmt struct {
	Expr string `json:"expr"`
	At   string `json:"at,omitempty"` // file:line:column
}

// Proof is what shows that a step's fault fired on the expected edge. A proof whose expression does not hold makes the
// run INCONCLUSIVE: nothing was shown to have been injected.
type Proof struct {
	Step string `json:"step"` // circuitBreaker httpbin
	Text string `json:"text"` // what holds when the fault fired
	Expr string `json:"expr"`
}
