package check

// Data is what one phase's statements are judged by.
type Data struct {
	Records   Records
	Phase     string
	Baseline  string // the phase that deltas compare with; "" when there is none
	Namespace string // of hosts without one
}

// Judge gives the statement's verdict on one phase. It reads the phase's records, and the baseline's for a delta, once.
// JudgeRun is cheaper for several statements.
func (e *Expr) Judge(d Data) Outcome {
	b := newBook(d.Records, d.Namespace, d.Baseline)
	b.want(e, d.Phase)
	return b.judge(e, d.Phase)
}

// book is the phases of a run, so that each is read once for all statements.
type book struct {
	records   Records
	namespace string
	baseline  string
	phases    map[string]*phase
}

func newBook(r Records, namespace, baseline string) *book {
	return &book{records: r, namespace: namespace, baseline: baseline, phases: map[string]*phase{}}
}

func (b *book) phase(name string) *phase {
	p := b.phases[name]
	if p == nil {
		p = newPhase(b.records, name, b.namespace)
		b.phases[name] = p
	}
	return p
}

// want prepares for judging a statement on a phase.
func (b *book) want(e *Expr, phase string) {
	for _, m := range e.measures {
		b.phase(phase).want(m)
		if m.delta && b.hasBaseline(phase) {
			b.phase(b.baseline).want(m)
		}
	}
}

func (b *book) hasBaseline(phase string) bool { return b.baseline != "" && b.baseline != phase }

// judge gives a statement's outcome on a phase that was prepared for it.
func (b *book) judge(e *Expr, phase string) Outcome {
	rs := make([]reading, len(e.measures))
	out := Outcome{Kind: KindCheck, Phase: phase, Name: e.stmt, Expr: e.stmt, Limit: e.limit}
	for i, m := range e.measures {
		rs[i] = b.read(m, phase, e.shareOf(m))
		out.Measures = append(out.Measures, m.report(rs[i]))
	}
	j := e.evaluate(e.root, rs)
	out.Verdict = j.verdict
	out.Reason = e.reason(j, rs)
	if j.verdict == Inconclusive {
		for _, cmp := range j.by {
			out.Need = max(out.Need, cmp.need)
		}
	}
	return out
}

// read gives a measure's reading; of a delta, the difference of two.
func (b *book) read(m *measure, phase string, confidence float64) reading {
	now := b.phase(phase).read(m, confidence)
	if !m.delta || now.missing != "" {
		return now
	}
	if !b.hasBaseline(phase) {
		return absent(now.source, "there is no baseline to compare %s with", phase)
	}
	then := b.phase(b.baseline).read(m, confidence)
	if then.missing != "" {
		return absent(now.source, "in the baseline: %s", then.missing)
	}
	r := now
	r.value, r.lo, r.hi = now.value-then.value, now.lo-then.hi, now.hi-then.lo
	r.n, r.need = min(now.n, then.n), max(now.need, then.need)
	if confidence > 0 {
		r.confidence = 1 - 2*(1-confidence)
		r.method = now.method + ", difference"
	}
	return r
}
