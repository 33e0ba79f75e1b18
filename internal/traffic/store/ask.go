package store

import (
	"errors"
	"fmt"
)

// What may be asked for, of every store.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxSteps     = 10_000
)

// ErrCursor says that a page was asked for after a place that no listing named.
var ErrCursor = errors.New("no listing of this order said so")

// Summable refuses a filter that sums do not answer.
func (f *Filter) Summable() error {
	if f.RequestID != "" || f.TraceID != "" || f.Path != "" || f.Slower != 0 || f.Faster != 0 {
		return errors.New("records are not summed up by request id, trace id, path or duration: list them")
	}
	return f.Window()
}

// Window refuses a window that ends before it begins.
func (f *Filter) Window() error {
	if !f.From.IsZero() && !f.To.IsZero() && f.To.Before(f.From) {
		return fmt.Errorf("a window of records ends at %v, before it begins at %v", f.To, f.From)
	}
	return nil
}

// CheckSteps refuses a timeline of too few or too many steps.
func CheckSteps(n int) error {
	if n < 1 || n > maxSteps {
		return fmt.Errorf("a timeline of %d steps: ask for 1 to %d", n, maxSteps)
	}
	return nil
}

// Checked is the page with its defaults, or why there is none such.
func (p Page) Checked() (Page, error) {
	if p.Limit == 0 {
		p.Limit = defaultLimit
	}
	if p.Limit < 1 || p.Limit > maxLimit {
		return p, fmt.Errorf("a page of %d records: ask for 1 to %d", p.Limit, maxLimit)
	}
	switch p.Order {
	case "":
		p.Order = ByTime
	case ByTime, ByDuration:
	default:
		return p, fmt.Errorf("records are not sorted by %q: by %s or %s", p.Order, ByTime, ByDuration)
	}
	return p, nil
}
