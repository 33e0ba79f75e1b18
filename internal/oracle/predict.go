package oracle

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"squall/internal/check"
	"squall/internal/rules"
)

// Request is a load as the rules see it.
type Request struct {
	URL     string // absolute; its host is a service as the caller names it
	Method  string // "" is GET
	Headers map[string]string
	// SignIn is the form with which the client signed in before the load; nil is not at all.
	SignIn map[string]string
	Caller rules.Caller
	// Connections is how many requests can be under way at once; 0 is not known.
	Connections int
	// Requests is how many there are, exactly; 0 is not known, and then counts are not predicted. It must be 0 when the same proxies
	// get other requests in the same time, such as a warm-up or signing in.
	Requests int64
	// Timeout is how long the client waits for an answer; 0 is for ever.
	Timeout time.Duration
	// Ejected are full names of hosts of which loads before this one may have ejected pods.
	Ejected []string
	// GRPC says that the load is no plain HTTP, of which nothing is predicted.
	GRPC bool
}

// Prediction is what the rules say of a load.
type Prediction struct {
	Items []check.Prediction
	// Unpredicted is why there is no more.
	Unpredicted []string
	// Ejects are full names of hosts of which the load may eject pods, so that those after it find fewer.
	Ejects []string
}

// copies are the requests that a mirror sends beside the load's.
type copies struct {
	call    call
	route   *rules.Route
	to      rules.Destination
	cluster rules.Cluster
}

// evaluation is one run of Predict.
type evaluation struct {
	model   *rules.Model
	req     Request
	notes   []note
	copies  []copies
	breaker *breaker
	steps   int
	left    []string // what is not told beside the mixture
	ejects  []string
}

// Predict evaluates the rules for a load. It never fails: what it cannot tell is in Unpredicted.
func Predict(m *rules.Model, req Request) Prediction {
	c, why := start(req)
	if why == "" {
		why = meddling(m)
	}
	if why != "" {
		return Prediction{Unpredicted: []string{why}}
	}
	e := &evaluation{model: m, req: req}
	mix := e.route(c).then(func(o outcome) mixture {
		if req.Timeout > 0 && o.latency > req.Timeout-near {
			return unknown("an answer takes %v, and the load waits %v", o.latency, req.Timeout)
		}
		o.p = 1
		return mixture{o}
	})
	p := &printer{e: e, mix: mix, because: e.why(func(note) bool { return true })}
	p.all()
	return Prediction{Items: p.items, Unpredicted: append(append(mix.reasons(), e.left...), p.left...), Ejects: e.ejects}
}

// start is the load's request as a call.
func start(req Request) (call, string) {
	u, err := url.Parse(req.URL)
	if err != nil || u.Hostname() == "" {
		return call{}, fmt.Sprintf("%s is no absolute URL", req.URL)
	}
	if u.Scheme != "http" || req.GRPC {
		return call{}, "only plain HTTP is predicted"
	}
	port := 80
	if n, err := strconv.Atoi(u.Port()); err == nil {
		port = n
	}
	c := call{caller: req.Caller, host: u.Hostname(), port: port, signIn: req.SignIn}
	c.req = rules.Request{Method: req.Method, Path: u.RequestURI(), Authority: u.Host, Headers: req.Headers, Port: port}
	if c.req.Method == "" {
		c.req.Method = "GET"
	}
	for name, value := range req.Headers {
		if strings.EqualFold(name, "host") {
			c.req.Authority = value
		}
	}
	return c, ""
}

// meddling is why nothing can be told at all: objects that change what proxies do in ways that the model does not know.
func meddling(m *rules.Model) string {
	for _, p := range m.Problems {
		return p.String()
	}
	return ""
}

// note is a rule that has a part in the answer.
type note struct {
	text, from, to string // of calls from a workload ("" is the load's) to a host
}

// because notes a rule, once.
func (e *evaluation) because(c call, format string, args ...any) {
	n := note{fmt.Sprintf(format, args...), c.from, c.host}
	if !slices.Contains(e.notes, n) {
		e.notes = append(e.notes, n)
	}
}

// why are the notes of some calls as one line.
func (e *evaluation) why(of func(note) bool) string {
	var out []string
	for _, n := range e.notes {
		if !of(n) {
			continue
		}
		text := n.text
		if n.from != "" {
			text += " (calls of " + n.from + ")"
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		return "no rule does anything to the request"
	}
	return strings.Join(out, "; ")
}

// share is such as 12.5 %.
func share(p float64) string { return strconv.FormatFloat(math.Round(p*1e6)/1e4, 'f', -1, 64) + " %" }
