package page

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	mostRows  = 500  // of a table
	mostEdges = 1000 // of a graph's table
)

// Services is the view of all services.
type Services struct {
	Window   Window  `json:"window"`
	Total    Figures `json:"total"`
	Services []Row   `json:"services"`
	More     int     `json:"more,omitempty"` // services that are not listed
}

// Service is the view of one service: its interfaces.
type Service struct {
	Window     Window   `json:"window"`
	Total      Row      `json:"total"`
	Interfaces []Row    `json:"interfaces"`
	More       int      `json:"more,omitempty"`
	Callers    []Caller `json:"callers"`
}

// Caller is a workload that calls a service.
type Caller struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Figures

	Link string `json:"-"`
}

// Requests is the view of the requests themselves, of one interface or of any.
type Requests struct {
	Window   Window    `json:"window"`
	Total    Row       `json:"total"`
	Narrowed bool      `json:"narrowed,omitempty"` // the list is of less than Total is
	Requests []Request `json:"requests"`
	Next     string    `json:"next,omitempty"`    // the parameter after of the page after
	Partial  bool      `json:"partial,omitempty"` // the search goes on with Next
}

// Request is one request.
type Request struct {
	traffic.Document
	record traffic.Record
}

// source answers views from a store.
type source struct {
	reader store.Reader
	edges  *edges
}

// at begins a view: the window of the query, and the filter of what sums answer in it.
func (s *source) at(ctx context.Context, q *query) (w Window, f store.Filter, narrowed bool, err error) {
	b, err := s.edges.of(ctx, &q.filter)
	if err != nil || b.last.IsZero() {
		return Window{}, f, false, err
	}
	w = q.window(b)
	f, narrowed = q.summed()
	f.From, f.To = w.From, w.To
	return w, f, narrowed, nil
}

// both asks for sums and timelines at once.
func (s *source) both(ctx context.Context, w *Window, f store.Filter, by, lineBy []store.Dimension) (groups []store.Group, lines []store.Timeline, err error) {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() (err error) {
		groups, err = s.reader.Groups(ctx, w.open(f), by...)
		return err
	})
	work.Go(func() (err error) {
		lines, err = s.reader.Timeline(ctx, f, sparkSteps, lineBy...)
		return err
	})
	return groups, lines, work.Wait()
}

func total(groups []store.Group, window time.Duration) Row {
	all := merged(groups, func(*store.Group) store.Series { return store.Series{} })
	if len(all) == 0 {
		all = []store.Group{{}}
	}
	return newRow(&all[0], window)
}

// services is the view of all services.
func (s *source) services(ctx context.Context, q *query) (v Services, err error) {
	w, f, _, err := s.at(ctx, q)
	v = Services{Window: w, Services: []Row{}}
	if err != nil || w.empty() {
		return v, err
	}
	groups, lines, err := s.both(ctx, &w, f, []store.Dimension{store.ByService}, []store.Dimension{store.ByService})
	if err != nil {
		return v, err
	}
	v.Total = total(groups, w.observed()).Figures
	v.Services, v.More = table(groups, lines, q, w)
	for i := range v.Services {
		if r := &v.Services[i]; r.Service != "" {
			r.Link = q.general().link("/service", "namespace", r.Namespace, "service", r.Service)
		}
	}
	return v, nil
}

// table makes the rows of groups.
func table(groups []store.Group, lines []store.Timeline, q *query, w Window) (rows []Row, more int) {
	rows = make([]Row, len(groups))
	for i := range groups {
		rows[i] = newRow(&groups[i], w.observed())
	}
	sortRows(rows, q.rows)
	more = max(0, len(rows)-mostRows)
	rows = rows[:len(rows)-more]
	withTimelines(rows, lines)
	return rows, more
}

// service is the view of one service.
func (s *source) service(ctx context.Context, q *query) (v Service, err error) {
	w, f, _, err := s.at(ctx, q)
	v = Service{Window: w, Interfaces: []Row{}, Callers: []Caller{}}
	if err != nil || w.empty() {
		return v, err
	}
	groups, lines, err := s.both(ctx, &w, f, []store.Dimension{store.BySource, store.ByInterface}, []store.Dimension{store.ByInterface})
	if err != nil {
		return v, err
	}
	v.Total = total(groups, w.observed())
	v.Callers = callers(groups, q, w)
	groups = merged(groups, func(g *store.Group) store.Series { return store.Series{Method: g.Method, Interface: g.Interface} })
	v.Total.Timeline = summedUp(lines)
	v.Total.Namespace, v.Total.Service = q.filter.Namespace, q.filter.Service
	v.Interfaces, v.More = table(groups, lines, q, w)
	for i := range v.Interfaces {
		r := &v.Interfaces[i]
		pairs := []string{"namespace", q.filter.Namespace, "service", q.filter.Service, "method", r.Method, "interface", r.Interface}
		if r.Interface == "" {
			pairs = append(pairs, "noInterface", "1")
		}
		r.Link = q.general().link("/requests", pairs...)
	}
	return v, nil
}

// callers are the workloads that call, the busiest first.
func callers(groups []store.Group, q *query, w Window) []Caller {
	all := merged(groups, func(g *store.Group) store.Series {
		return store.Series{SourceNamespace: g.SourceNamespace, Source: g.Source}
	})
	slices.SortStableFunc(all, func(a, b store.Group) int { return cmp.Compare(b.Summary.Records, a.Summary.Records) })
	out := []Caller{}
	for i := range all[:min(len(all), mostRows)] {
		g := &all[i]
		c := Caller{Namespace: g.SourceNamespace, Name: g.Source, Figures: figures(&g.Summary, w.observed())}
		if c.Name != "" {
			c.Link = q.link("/requests", "sourceIn", c.Namespace, "source", c.Name)
		}
		out = append(out, c)
	}
	return out
}

// summedUp is one timeline of many.
func summedUp(lines []store.Timeline) Steps {
	var out Steps
	for i := range lines {
		points := lines[i].Points
		if out == nil {
			out = make(Steps, len(points))
		}
		for j, p := range points {
			out[j].Start = p.Start
			out[j].Requests += p.Records
			out[j].Errors += p.Errors
		}
	}
	return out
}

// requests is the view of requests.
func (s *source) requests(ctx context.Context, q *query) (v Requests, err error) {
	w, f, narrowed, err := s.at(ctx, q)
	v = Requests{Window: w, Narrowed: narrowed, Requests: []Request{}}
	if err != nil || w.empty() {
		return v, err
	}
	listed := q.filter
	listed.From, listed.To = w.From, w.To
	var lines []store.Timeline
	var groups []store.Group
	var list store.Listing
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() (err error) {
		groups, lines, err = s.both(ctx, &w, f, nil, nil)
		return err
	})
	work.Go(func() (err error) {
		list, err = s.reader.List(ctx, listed, q.page)
		return err
	})
	if err := work.Wait(); err != nil {
		return v, err
	}
	v.Total = total(groups, w.observed())
	v.Total.Timeline = summedUp(lines)
	v.Total.Namespace, v.Total.Service, v.Total.Method = q.filter.Namespace, q.filter.Service, q.filter.Method
	if len(q.filter.Interfaces) == 1 {
		v.Total.Interface = q.filter.Interfaces[0]
	}
	v.Next, v.Partial = list.Next, list.Partial
	for i := range list.Records {
		r := &list.Records[i]
		v.Requests = append(v.Requests, Request{*traffic.NewDocument(r, store.Bucket(r.Duration)), *r})
	}
	return v, nil
}
