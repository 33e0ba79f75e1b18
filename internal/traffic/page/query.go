package page

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	maxParameter = 2048 // bytes of one value
	maxValues    = 32   // of one parameter
	rowsAtOnce   = 50   // requests on a page, unless it is asked for more
	defaultLast  = time.Hour
)

// query is what a URL asks for. The values are canonical: what is empty or the default is not there.
type query struct {
	values url.Values
	filter store.Filter // without From and To
	page   store.Page
	last   time.Duration // of a window that ends with the newest record; 0 is not by that
	all    bool          // the window is all that there is
	rows   string        // what rows are sorted by
}

// parameter reads one parameter into a query.
type parameter func(q *query, v string) error

// parameters are all that a URL may have. Those that are several may be given more than once.
func parameters() (one, several map[string]parameter) {
	text := func(to func(*query) *string) parameter {
		return func(q *query, v string) error { *to(q) = v; return nil }
	}
	number := func(to func(*query) *[]int, low, high int) parameter {
		return func(q *query, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < low || n > high {
				return fmt.Errorf("it is %d to %d", low, high)
			}
			*to(q) = append(*to(q), n)
			return nil
		}
	}
	one = map[string]parameter{
		"last": readLast, "rows": readRows, "sort": readSort, "order": readOrder, "limit": readLimit, "reporter": readReporter, "failed": readFailed,
		"from":        moment(func(q *query) *time.Time { return &q.filter.From }),
		"to":          moment(func(q *query) *time.Time { return &q.filter.To }),
		"slower":      duration(func(q *query) *time.Duration { return &q.filter.Slower }),
		"faster":      duration(func(q *query) *time.Duration { return &q.filter.Faster }),
		"run":         text(func(q *query) *string { return &q.filter.Run }),
		"source":      text(func(q *query) *string { return &q.filter.Source }),
		"sourceIn":    text(func(q *query) *string { return &q.filter.SourceIn }),
		"namespace":   text(func(q *query) *string { return &q.filter.Namespace }),
		"service":     text(func(q *query) *string { return &q.filter.Service }),
		"workload":    text(func(q *query) *string { return &q.filter.Workload }),
		"method":      text(func(q *query) *string { return &q.filter.Method }),
		"flag":        text(func(q *query) *string { return &q.filter.Flag }),
		"trace":       text(func(q *query) *string { return &q.filter.TraceID }),
		"request":     text(func(q *query) *string { return &q.filter.RequestID }),
		"path":        text(func(q *query) *string { return &q.filter.Path }),
		"after":       text(func(q *query) *string { return &q.page.After }),
		"noInterface": func(q *query, _ string) error { q.filter.Interfaces = []string{""}; return nil },
	}
	several = map[string]parameter{
		"stage":     func(q *query, v string) error { q.filter.Stages = append(q.filter.Stages, v); return nil },
		"version":   func(q *query, v string) error { q.filter.Versions = append(q.filter.Versions, v); return nil },
		"interface": func(q *query, v string) error { q.filter.Interfaces = append(q.filter.Interfaces, v); return nil },
		"code":      number(func(q *query) *[]int { return &q.filter.Codes }, 0, 999),
		"class":     number(func(q *query) *[]int { return &q.filter.Classes }, 0, 9),
	}
	return one, several
}

// Parameters are the names of all parameters that an address may have, sorted.
func Parameters() []string {
	all, several := parameters()
	maps.Copy(all, several)
	return slices.Sorted(maps.Keys(all))
}

// parseQuery reads a URL's parameters. An error says which one is wrong, and what would be right.
func parseQuery(raw string, reporter traffic.Reporter) (*query, error) {
	given, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("the address cannot be read: %w", err)
	}
	q := &query{values: url.Values{}, last: defaultLast, rows: "rate", filter: store.Filter{Reporter: reporter}, page: store.Page{Limit: rowsAtOnce}}
	one, several := parameters()
	for name, values := range given {
		values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }) // a form's empty fields
		read, single := one[name]
		if !single {
			read = several[name]
		}
		switch {
		case read == nil:
			return nil, fmt.Errorf("the address has a parameter %q, which is unknown", shortened(name))
		case len(values) > maxValues || single && len(values) > 1:
			return nil, fmt.Errorf("the address has the parameter %s %d times", name, len(values))
		}
		for _, v := range values {
			if len(v) > maxParameter || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return nil, fmt.Errorf("%s=%q: it is longer than %d bytes, or no text", name, shortened(v), maxParameter)
			}
			if err := read(q, v); err != nil {
				return nil, fmt.Errorf("%s=%q: %w", name, shortened(v), err)
			}
			q.values.Add(name, v)
		}
	}
	return q, q.check()
}

// check sees that the parts fit together.
func (q *query) check() error {
	if !q.filter.From.IsZero() || !q.filter.To.IsZero() { // a form may have both
		q.last, q.all = 0, false
		q.values.Del("last")
	}
	if err := q.filter.Window(); err != nil {
		return err
	}
	var err error
	q.page, err = q.page.Checked()
	return err
}

func readLast(q *query, v string) error {
	if v == "all" {
		q.all, q.last = true, 0
		return nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return fmt.Errorf("it is a duration such as 15m, or all")
	}
	q.last = d
	return nil
}

func readRows(q *query, v string) error {
	if !slices.Contains(rowOrders(), v) {
		return fmt.Errorf("rows are sorted by %s", strings.Join(rowOrders(), ", "))
	}
	q.rows = v
	return nil
}

func readSort(q *query, v string) error {
	q.page.Order = store.Order(v)
	return nil // Checked looks at it
}

func readOrder(q *query, v string) error {
	if v != "asc" && v != "desc" {
		return fmt.Errorf("it is asc or desc")
	}
	q.page.Ascending = v == "asc"
	return nil
}

func readLimit(q *query, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return fmt.Errorf("it is a number of requests")
	}
	q.page.Limit = n
	return nil
}

func readReporter(q *query, v string) error {
	q.filter.Reporter = traffic.Reporter(v)
	if v != string(traffic.Source) && v != string(traffic.Destination) {
		return fmt.Errorf("it is %s or %s", traffic.Source, traffic.Destination)
	}
	return nil
}

func readFailed(q *query, v string) error {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("it is true or false")
	}
	q.filter.Failed = &b
	return nil
}

func duration(to func(*query) *time.Duration) parameter {
	return func(q *query, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return fmt.Errorf("it is a duration such as 250ms")
		}
		*to(q) = d
		return nil
	}
}

// moment reads a time: with its zone, or in UTC as a form's field has it.
func moment(to func(*query) *time.Time) parameter {
	return func(q *query, v string) error {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04", "2006-01-02T15:04:05"} {
			t, err := time.ParseInLocation(layout, v, time.UTC)
			if err == nil && t.Year() >= 1971 && t.Year() <= 2200 {
				*to(q) = t
				return nil
			}
		}
		return fmt.Errorf("it is a time such as 2026-03-01T12:00:00Z")
	}
}

// shortened is a text for an error message.
func shortened(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// link is an address with the query's parameters, and others: pairs of name and value, where an empty value leaves the parameter out.
func (q *query) link(path string, pairs ...string) string {
	v := url.Values{}
	for name, values := range q.values {
		v[name] = slices.Clone(values)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if v.Del(pairs[i]); pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// general is the query with nothing but what all views have: the window and the filters of a run.
func (q *query) general() *query {
	out := &query{values: url.Values{}}
	for _, name := range []string{"last", "from", "to", "run", "stage", "reporter", "source", "sourceIn", "version", "class"} {
		if v, ok := q.values[name]; ok {
			out.values[name] = v
		}
	}
	return out
}

// summed is the filter without what sums do not answer; more says that there was such.
func (q *query) summed() (f store.Filter, more bool) {
	f = q.filter
	more = f.Summable() != nil
	f.RequestID, f.TraceID, f.Path, f.Slower, f.Faster = "", "", "", 0, 0
	return f, more
}
