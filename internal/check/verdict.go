package check

// Worst is the verdict of several together: ERROR over HALTED over FAIL over INCONCLUSIVE over PASS. Of none it is
// Inconclusive.
func Worst(vs ...Verdict) Verdict {
	if len(vs) == 0 {
		return Inconclusive
	}
	worst := vs[0]
	for _, v := range vs[1:] {
		if weight(v) > weight(worst) {
			worst = v
		}
	}
	return worst
}

func weight(v Verdict) int {
	switch v {
	case Pass:
		return 0
	case Inconclusive:
		return 1
	case Fail:
		return 2
	case Halted:
		return 3
	default:
		return 4
	}
}

func and(a, b Verdict) Verdict {
	switch {
	case a == Fail || b == Fail:
		return Fail
	case a == Pass && b == Pass:
		return Pass
	default:
		return Inconclusive
	}
}

func or(a, b Verdict) Verdict { return not(and(not(a), not(b))) }

func not(v Verdict) Verdict {
	switch v {
	case Pass:
		return Fail
	case Fail:
		return Pass
	default:
		return v
	}
}

func verdictOf(all, none bool) Verdict {
	switch {
	case all:
		return Pass
	case none:
		return Fail
	default:
		return Inconclusive
	}
}
