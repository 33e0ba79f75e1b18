package page

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"squall/internal/traffic"
)

// screen is what a template shows.
type screen struct {
	Title  string
	View   string
	Page   *Page
	Data   any
	Facets facets
	Error  string
	Again  int    // seconds after which the browser loads the page again; 0 is never
	Back   string // where to go after signing in
	q      *query
}

// choice is an option of a form.
type choice struct {
	Value, Label string
	Chosen       bool
}

// Name is of what is looked at.
func (s *screen) Name() string { return s.Page.opts.Name }

// SignedIn says that there is a token to forget.
func (s *screen) SignedIn() bool { return s.Page.door.token != nil && s.Error == "" && s.View != "" }

// Live says that the page changes while records come.
func (s *screen) Live() bool {
	return s.q != nil && s.q.filter.To.IsZero() && s.q.page.After == ""
}

// Link is an address of the same query on another view, with other parameters: pairs of name and value.
func (s *screen) Link(path string, pairs ...string) string { return s.q.link(path, pairs...) }

// Self is the address of the same view with other parameters.
func (s *screen) Self(pairs ...string) string { return s.q.link(viewPath(s.View), pairs...) }

// Elsewhere is the address of a view with the general filters alone.
func (s *screen) Elsewhere(path string) string { return s.q.general().link(path) }

// API is the address of the same as JSON.
func (s *screen) API() string { return s.q.link("/api/" + s.View) }

// Is reports whether a parameter has a value.
func (s *screen) Is(name, value string) bool { return slices.Contains(s.q.values[name], value) }

// Value is a parameter's.
func (s *screen) Value(name string) string { return s.q.values.Get(name) }

// Rows is what rows are sorted by.
func (s *screen) Rows() string { return s.q.rows }

// Order is what requests are sorted by, and Ascending how.
func (s *screen) Order() string { return string(s.q.page.Order) }

// Ascending is the other way round.
func (s *screen) Ascending() bool { return s.q.page.Ascending }

// Lasts are the windows to choose from.
func (s *screen) Lasts() []choice {
	now := s.Value("last")
	out := []choice{{"", "Last hour", now == ""}}
	known := now == "" || now == "1h"
	for _, c := range [][2]string{{"1m", "Last minute"}, {"5m", "Last 5 minutes"}, {"15m", "Last 15 minutes"}, {"6h", "Last 6 hours"}, {"24h", "Last day"}, {"168h", "Last week"}, {"all", "All"}} {
		out = append(out, choice{c[0], c[1], c[0] == now})
		known = known || c[0] == now
	}
	if !known {
		out = append(out, choice{now, "Last " + now, true})
	}
	return out
}

// Reporters are the sides to choose from.
func (s *screen) Reporters() []choice {
	now := s.q.filter.Reporter
	return []choice{{string(traffic.Destination), "callee's proxy", now == traffic.Destination}, {string(traffic.Source), "caller's proxy", now == traffic.Source}}
}

// Classes are those of codes.
func (s *screen) Classes() []choice {
	out := []choice{{"", "any", !s.q.values.Has("class")}}
	for _, c := range []string{"2", "3", "4", "5"} {
		out = append(out, choice{c, c + "xx", s.Is("class", c)})
	}
	return append(out, choice{"0", "no code", s.Is("class", "0")})
}

// Choices are the values of a parameter that the window has, and the chosen one if it has not.
func (s *screen) Choices(name string, values []string) []choice {
	out := []choice{{"", "any", !s.q.values.Has(name)}}
	for _, v := range values {
		out = append(out, choice{v, cut(v, shownText), s.Is(name, v)})
	}
	for _, v := range s.q.values[name] {
		if !slices.Contains(values, v) {
			out = append(out, choice{v, cut(v, shownText), true})
		}
	}
	return out
}

// Moment is a bound of the window as a form has it, empty where it is not by from and to.
func (s *screen) Moment(name string) string {
	t := s.q.filter.From
	if name == "to" {
		t = s.q.filter.To
	}
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05")
}

// Kept are the parameters that a form has no field for: pairs of name and value.
func (s *screen) Kept() [][2]string {
	var out [][2]string
	names := []string{"namespace", "service", "workload", "method", "interface", "noInterface", "rows", "sourceIn", "sort", "order"}
	if s.View != "requests" && s.View != "service" {
		names = []string{"rows"}
	}
	for _, name := range names {
		for _, v := range s.q.values[name] {
			out = append(out, [2]string{name, v})
		}
	}
	return out
}

// Last is the time of the newest record, for the script.
func (s *screen) Last() string {
	w, ok := s.Data.(windowed)
	if !ok || w.window().Last.IsZero() {
		return "0"
	}
	return fmt.Sprint(w.window().Last.UnixNano())
}

func parseTemplates() (*template.Template, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"text": func(s string) string { return cut(s, keptText) }, "short": func(s string) string { return cut(s, shownText) },
		"count": formatCount, "rate": formatRate, "time": formatTime, "code": formatCode, "duration": formatDuration,
		"seconds": func(s *float64) string {
			if s == nil {
				return "–"
			}
			return formatDuration(time.Duration(*s * 1e9))
		},
		"ratio": func(f *float64) string {
			if f == nil {
				return "–"
			}
			return formatRatio(*f)
		},
		"part":    func(n, of uint64) string { return formatRatio(float64(n) / float64(max(1, of))) },
		"sub":     label,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"spark":   func(s Steps) plot { return newPlot(s, 120, 24) },
		"chart":   func(s Steps) plot { return newPlot(s, 960, 96) },
		"flags":   func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) },
		"add":     func(a, b int) int { return a + b },
		"half":    func() int { return boxWidth / 2 },
		"columns": rowColumns,
		"css":     css,
	}).ParseFS(files, "templates/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("parse the page's templates: %w", err)
	}
	return t, nil
}

// css is the style of a page in one file.
func css() (template.CSS, error) {
	b, err := files.ReadFile("assets/style.css")
	return template.CSS(b), err //nolint:gosec // a file of ours, not input
}

// rowColumns are the columns of figures: what rows are sorted by, and the heading.
func rowColumns() [][2]string {
	return [][2]string{{"rate", "RPS"}, {"errors", "Errors"}, {"mean", "Mean"}, {"p50", "P50"}, {"p95", "P95"}, {"p99", "P99"}}
}

// label is a text that fits into n runes.
func label(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// OneInterface reports whether the requests are of one interface.
func (s *screen) OneInterface() bool { return len(s.q.filter.Interfaces) == 1 }

// Service is the address of the service that requests are of.
func (s *screen) Service() string {
	return s.q.general().link("/service", "namespace", s.q.filter.Namespace, "service", s.q.filter.Service)
}

// SortLink sorts requests, the other way round if they are sorted so already.
func (s *screen) SortLink(by string) string {
	order := ""
	if s.Order() == by && !s.q.page.Ascending {
		order = "asc"
	}
	if by == "time" {
		by = ""
	}
	return s.Self("sort", by, "order", order, "after", "")
}

// Row is the request for a template.
func (r *Request) Row() *traffic.Record { return &r.record }

// Named is a node's name in a text.
func (v Graph) Named(node int) string {
	n := &v.Nodes[node]
	name := n.Name
	if name == "" {
		name = "unknown"
	}
	if n.Namespace != "" {
		name = n.Namespace + "/" + name
	}
	return cut(name, shownText)
}
