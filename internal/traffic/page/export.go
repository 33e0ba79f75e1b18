package page

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

// What a static page lists at most. What is left out is stated.
const (
	exportedServices = 100
	exportedRequests = 50 // slowest ones, and failed ones
)

// static is all that a page in one file shows.
type static struct {
	Name     string
	Services Services
	Details  []Service
	Left     int // services without their interfaces
	Graph    Graph
	Slowest  []Request
	Failed   []Request
}

// Export writes the interface traffic of a filter as one HTML file: services, interfaces, the graph, and the slowest and the failed
// requests. It needs no script, no network and no store to be read. An empty reporter is the callee's proxy, an empty window all that there
// is; what a store does not sum up is refused.
func Export(ctx context.Context, reader store.Reader, f store.Filter, w io.Writer) error {
	if err := f.Summable(); err != nil {
		return fmt.Errorf("export interface traffic: %w", err)
	}
	if f.Reporter == "" {
		f.Reporter = traffic.Destination
	}
	s := static{Name: f.Run}
	src := &source{reader, &edges{reader: reader, known: map[string]bounds{}}}
	if err := s.ask(ctx, src, &query{filter: f, rows: "rate", all: true}); err != nil {
		return fmt.Errorf("export interface traffic: %w", err)
	}
	t, err := parseTemplates()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "static", &s); err != nil {
		return fmt.Errorf("render interface traffic: %w", err)
	}
	if _, err := io.WriteString(w, legible(b.String())); err != nil {
		return fmt.Errorf("write interface traffic: %w", err)
	}
	return nil
}

// ask fills it, with no address in it.
func (s *static) ask(ctx context.Context, src *source, q *query) (err error) {
	if s.Services, err = src.services(ctx, q); err != nil || s.Services.Window.empty() {
		return err
	}
	for i := range s.Services.Services {
		r := &s.Services.Services[i]
		r.Link = ""
		if r.Service == "" {
			continue
		}
		if len(s.Details) == exportedServices {
			s.Left++
			continue
		}
		r.Link = fmt.Sprintf("#service-%d", len(s.Details))
		one := *q
		one.filter.Namespace, one.filter.Service = r.Namespace, r.Service
		detail, err := src.service(ctx, &one)
		if err != nil {
			return err
		}
		s.Details = append(s.Details, detail.withoutLinks())
	}
	if s.Graph, err = src.graph(ctx, q); err != nil {
		return err
	}
	for i := range s.Graph.Nodes {
		s.Graph.Nodes[i].Link = ""
	}
	for i := range s.Graph.Edges {
		s.Graph.Edges[i].Link = ""
	}
	return s.list(ctx, src, q)
}

func (v Service) withoutLinks() Service {
	for i := range v.Interfaces {
		v.Interfaces[i].Link = ""
	}
	for i := range v.Callers {
		v.Callers[i].Link = ""
	}
	return v
}

// list adds the slowest requests and the newest failed ones.
func (s *static) list(ctx context.Context, src *source, q *query) error {
	yes := true
	f := q.filter
	f.From, f.To = s.Services.Window.From, s.Services.Window.To
	slow, err := src.reader.List(ctx, f, store.Page{Order: store.ByDuration, Limit: exportedRequests})
	if err != nil {
		return err
	}
	f.Failed = &yes
	failed, err := src.reader.List(ctx, f, store.Page{Limit: exportedRequests})
	if err != nil {
		return err
	}
	for _, l := range []struct {
		from []traffic.Record
		to   *[]Request
	}{{slow.Records, &s.Slowest}, {failed.Records, &s.Failed}} {
		for _, r := range l.from {
			*l.to = append(*l.to, Request{record: r})
		}
	}
	return nil
}

// FailedMore says that there are more failed requests than are listed.
func (s *static) FailedMore() bool { return uint64(len(s.Failed)) < s.Services.Total.Errors }
