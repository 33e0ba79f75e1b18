// Package page is the interface-traffic page: services, their interfaces with response times, rates and errors, every request behind a
// figure, and who calls whom. It reads any store of records, needs no script to be read, and shows what strangers sent as text.
package page

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

const (
	answerWithin = 30 * time.Second // a store that takes longer is not asked for this page
	againAfter   = 2 * time.Second  // a page whose store is not there yet loads itself again
)

//go:embed templates assets
var files embed.FS

// Options are what a page needs.
type Options struct {
	Reader store.Reader
	Name   string // of what is looked at: a run, a file, or Elasticsearch
	// Run is the one whose new records have the page look again; empty is any.
	Run string
	// Ended is what a page of a run under way says at its end: where to go on.
	Ended string
	// Reporter is whose records are shown unless the address says otherwise; empty is the callee's proxy.
	Reporter traffic.Reporter
	// Token has to be presented by whoever looks. Empty is nobody has to, and for a page on a loopback address alone.
	Token string
	// Loopback answers only requests for a loopback name, so that no site that a browser visits can read the page by a name of its own.
	Loopback bool
	// Every is how often the store is looked at while somebody does; 0 is 2 s.
	Every time.Duration
}

// Page is the interface-traffic page, as a handler.
type Page struct {
	opts      Options
	source    *source
	facets    *facetCache
	live      *live
	door      *door
	templates *template.Template
	mux       *http.ServeMux
}

// New makes the page. A page that others can reach needs a token of 16 characters at least.
func New(opts Options) (*Page, error) {
	if opts.Token == "" && !opts.Loopback {
		return nil, errors.New("a page that is not on a loopback address needs a token")
	}
	if opts.Token != "" && len(opts.Token) < MinToken {
		return nil, fmt.Errorf("the token has %d characters: it needs %d at least", len(opts.Token), MinToken)
	}
	if opts.Reporter == "" {
		opts.Reporter = traffic.Destination
	}
	if opts.Every == 0 {
		opts.Every = lookEvery
	}
	t, err := parseTemplates()
	if err != nil {
		return nil, err
	}
	d, err := newDoor(opts.Token)
	if err != nil {
		return nil, err
	}
	src := &source{opts.Reader, &edges{reader: opts.Reader, known: map[string]bounds{}}}
	p := &Page{opts: opts, source: src, facets: newFacetCache(opts.Reader), live: newLive(opts, src.edges.forget), door: d, templates: t, mux: http.NewServeMux()}
	p.routes()
	return p, nil
}

// ServeHTTP answers.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if p.opts.Loopback && !loopbackHost(r.Host) {
		p.fail(w, r, http.StatusForbidden, fmt.Errorf("this page answers to the names localhost and 127.0.0.1 alone, and was asked for as %q", shortened(r.Host)))
		return
	}
	p.mux.ServeHTTP(w, r)
}

// view is one page: its template, and what it asks the store for.
type view struct {
	name, title string
	ask         func(*source, context.Context, *query) (any, error)
}

// as makes an asking of any type one of any.
func as[T any](f func(*source, context.Context, *query) (T, error)) func(*source, context.Context, *query) (any, error) {
	return func(s *source, ctx context.Context, q *query) (any, error) { return f(s, ctx, q) }
}

func views() []view {
	return []view{
		{"services", "Services", as((*source).services)},
		{"service", "Interfaces", as((*source).service)},
		{"requests", "Requests", as((*source).requests)},
		{"graph", "Graph", as((*source).graph)},
	}
}

// viewPath is the address of a view.
func viewPath(name string) string {
	if name == "services" {
		return "/"
	}
	return "/" + name
}

func (p *Page) routes() {
	for _, v := range views() {
		path := viewPath(v.name)
		if path == "/" {
			path = "/{$}"
		}
		p.mux.HandleFunc("GET "+path, p.known(p.html(v)))
		p.mux.HandleFunc("GET /api/"+v.name, p.known(p.json(v)))
	}
	p.mux.HandleFunc("GET /events", p.known(p.events))
	p.mux.HandleFunc("GET /login", p.loginForm)
	p.mux.HandleFunc("POST /login", p.login)
	p.mux.HandleFunc("POST /logout", p.logout)
	for name, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"} {
		p.mux.HandleFunc("GET /assets/"+name, func(w http.ResponseWriter, _ *http.Request) {
			b, err := files.ReadFile("assets/" + name)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(b) // a browser that has gone
		})
	}
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.fail(w, r, http.StatusNotFound, fmt.Errorf("there is no page %q", shortened(r.URL.Path)))
	})
}

// answer asks the store for a view. A wrong address is a *queryError.
func (p *Page) answer(r *http.Request, v view) (*query, any, error) {
	q, err := parseQuery(r.URL.RawQuery, p.opts.Reporter)
	if err != nil {
		return nil, nil, &queryError{err}
	}
	if v.name == "service" && q.filter.Service == "" {
		return nil, nil, &queryError{errors.New("the address says no service: choose one on the page of services")}
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	data, err := v.ask(p.source, ctx, q)
	if errors.Is(err, store.ErrCursor) {
		err = &queryError{err}
	}
	return q, data, err
}

// queryError is a mistake in an address.
type queryError struct{ err error }

func (e *queryError) Error() string { return e.err.Error() }
func (e *queryError) Unwrap() error { return e.err }

func statusOf(err error) int {
	var wrong *queryError
	switch {
	case errors.As(err, &wrong):
		return http.StatusBadRequest
	case errors.Is(err, errNotYet):
		return http.StatusServiceUnavailable
	case errors.Is(err, errGone):
		return http.StatusGone
	}
	return http.StatusBadGateway
}

func (p *Page) json(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, data, err := p.answer(r, v)
		if err != nil {
			p.fail(w, r, statusOf(err), err)
			return
		}
		p.sendJSON(w, http.StatusOK, data)
	}
}

func (p *Page) sendJSON(w http.ResponseWriter, status int, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that has gone
}

func (p *Page) html(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, data, err := p.answer(r, v)
		if err != nil {
			p.fail(w, r, statusOf(err), err)
			return
		}
		f, err := p.facets.of(r.Context(), data, q)
		if err != nil {
			p.fail(w, r, statusOf(err), err)
			return
		}
		p.send(w, http.StatusOK, v.name, &screen{Title: v.title, Page: p, View: v.name, Data: data, q: q, Facets: f})
	}
}

// send renders a template: whole, or not at all.
func (p *Page) send(w http.ResponseWriter, status int, name string, s *screen) {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, s); err != nil {
		http.Error(w, "the page cannot be rendered: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, legible(b.String())) // a browser that has gone
}

// fail says what went wrong, as the client reads it.
func (p *Page) fail(w http.ResponseWriter, r *http.Request, status int, err error) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	s := &screen{Title: http.StatusText(status), Page: p, Error: err.Error()}
	switch {
	case errors.Is(err, errNotYet):
		s.Title, s.Again = "Not yet", int(againAfter.Seconds())
		w.Header().Set("Retry-After", strconv.Itoa(s.Again))
	case errors.Is(err, errGone):
		s.Title, s.Error = "The run has ended", p.opts.Ended
		err = fmt.Errorf("%w. %s", err, p.opts.Ended)
	}
	if strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/events") {
		p.sendJSON(w, status, map[string]string{"error": err.Error()})
		return
	}
	p.send(w, status, "error", s)
}
