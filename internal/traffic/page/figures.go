package page

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"squall/internal/traffic/store"
)

// Figures sum requests up. What is not known is null in JSON. Durations are in seconds.
type Figures struct {
	Requests   uint64   `json:"requests"`
	Errors     uint64   `json:"errors"`
	Rate       float64  `json:"rate"` // requests per second
	ErrorRatio *float64 `json:"errorRatio"`
	Mean       *float64 `json:"mean"`
	P50        *float64 `json:"p50"`
	P95        *float64 `json:"p95"`
	P99        *float64 `json:"p99"`
	Max        *float64 `json:"max"`
}

func figures(s *store.Summary, window time.Duration) Figures {
	f := Figures{Requests: s.Records, Errors: s.Errors, Rate: s.Rate(window), Mean: seconds(s.Mean()),
		P50: seconds(s.Quantile(0.5)), P95: seconds(s.Quantile(0.95)), P99: seconds(s.Quantile(0.99))}
	if s.Records > 0 {
		ratio := s.ErrorRatio()
		f.ErrorRatio, f.Max = &ratio, seconds(s.Max)
	}
	return f
}

// Level is how bad the errors are, for colours: none, few, or many.
func (f Figures) Level() string {
	switch {
	case f.ErrorRatio == nil || *f.ErrorRatio == 0:
		return "none"
	case *f.ErrorRatio < 0.05:
		return "few"
	}
	return "many"
}

// Share is a part of the requests, by version or code.
type Share struct {
	Name     string `json:"name"`
	Requests uint64 `json:"requests"`
}

func versionShares(m map[string]uint64) []Share {
	out := []Share{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Share{name, m[name]})
	}
	return out
}

func codeShares(m map[int]uint64) []Share {
	out := []Share{}
	for _, code := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Share{strconv.Itoa(code), m[code]})
	}
	return out
}

// Step is a step of a timeline.
type Step struct {
	Start    time.Time `json:"start"`
	Requests uint64    `json:"requests"`
	Errors   uint64    `json:"errors"`
	Mean     *float64  `json:"mean"`
}

// Steps are a timeline.
type Steps []Step

func steps(points []store.Point) Steps {
	out := make(Steps, len(points))
	for i, p := range points {
		out[i] = Step{p.Start, p.Records, p.Errors, seconds(p.Mean)}
	}
	return out
}

// Row is one row of a table of services or interfaces.
type Row struct {
	Namespace string  `json:"namespace,omitempty"`
	Service   string  `json:"service,omitempty"`
	Method    string  `json:"method,omitempty"`
	Interface string  `json:"interface,omitempty"`
	Figures           // of the window
	Versions  []Share `json:"versions"`
	Codes     []Share `json:"codes"`
	Timeline  Steps   `json:"timeline"`

	Link string `json:"-"`
}

func newRow(g *store.Group, window time.Duration) Row {
	return Row{Namespace: g.Namespace, Service: g.Service, Method: g.Method, Interface: g.Interface, Figures: figures(&g.Summary, window),
		Versions: versionShares(g.Versions), Codes: codeShares(g.Codes)}
}

// withTimelines adds each row's timeline. All timelines have the same steps.
func withTimelines(rows []Row, lines []store.Timeline) {
	found := map[[4]string]Steps{}
	var none Steps
	for i := range lines {
		l := &lines[i]
		s := steps(l.Points)
		found[[4]string{l.Namespace, l.Service, l.Method, l.Interface}] = s
		if none == nil {
			none = make(Steps, len(s))
			for i := range s {
				none[i].Start = s[i].Start
			}
		}
	}
	for i := range rows {
		r := &rows[i]
		if r.Timeline = found[[4]string{r.Namespace, r.Service, r.Method, r.Interface}]; r.Timeline == nil {
			r.Timeline = none
		}
	}
}

// rowOrders are what rows can be sorted by.
func rowOrders() []string { return []string{"name", "rate", "errors", "mean", "p50", "p95", "p99"} }

// sortRows sorts by a figure, the greatest first, and by name where they are equal.
func sortRows(rows []Row, by string) {
	value := func(r *Row) float64 {
		f := map[string]*float64{"rate": &r.Rate, "errors": r.ErrorRatio, "mean": r.Mean, "p50": r.P50, "p95": r.P95, "p99": r.P99}[by]
		if f == nil {
			return math.Inf(-1)
		}
		return *f
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(value(&b), value(&a)), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Service, b.Service),
			strings.Compare(a.Interface, b.Interface), strings.Compare(a.Method, b.Method))
	})
}

// merged are groups put together by a key, in the order of their first ones.
func merged(groups []store.Group, key func(*store.Group) store.Series) []store.Group {
	at := map[store.Series]int{}
	var out []store.Group
	for i := range groups {
		g := &groups[i]
		k := key(g)
		n, ok := at[k]
		if !ok {
			n = len(out)
			at[k] = n
			out = append(out, store.Group{Series: k, Codes: map[int]uint64{}, Versions: map[string]uint64{}})
		}
		out[n].Summary.Merge(&g.Summary)
		for c, count := range g.Codes {
			out[n].Codes[c] += count
		}
		for v, count := range g.Versions {
			out[n].Versions[v] += count
		}
	}
	return out
}
