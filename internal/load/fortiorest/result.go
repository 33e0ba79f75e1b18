package fortiorest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// socketError is the code by which Fortio counts calls that got no answer.
const socketError = -1

// Result is what Fortio says of a load.
type Result struct {
	Version string
	Start   time.Time     // on the server's clock
	Took    time.Duration // of all calls
	Codes   map[int]int64 // calls by HTTP status, -1 those without an answer
	Count   int64         // their sum
	Mean    float64       // seconds a call took
	Max     float64       // seconds
	Sockets int64         // connections that it made
}

// answer is the part of Fortio's result that is read. Pointers are what has to be there.
type answer struct {
	Error     bool   `json:"error"`
	Message   string `json:"message"`
	Exception string `json:"exception"`

	RunType        string
	Labels         string
	Version        string
	StartTime      *time.Time
	ActualDuration *time.Duration
	NumThreads     *int
	Exactly        *int64
	RetCodes       map[string]int64
	SocketCount    int64

	DurationHistogram *struct {
		Count    *int64
		Avg, Max float64
	}
}

// parse reads Fortio's result of the order. One that was stopped may have fewer calls. Whatever is not as it has to be is an error:
// a result that is understood in part says nothing.
func parse(text []byte, o *order, stopped bool) (Result, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return Result{}, fmt.Errorf("its result cannot be read: %w", err)
	}
	if a.Error || a.Message != "" || a.Exception != "" {
		return Result{}, &refusedError{a.reason()}
	}
	if a.StartTime == nil || a.ActualDuration == nil || a.NumThreads == nil || a.Exactly == nil || a.RetCodes == nil ||
		a.DurationHistogram == nil || a.DurationHistogram.Count == nil || a.Version == "" {
		return Result{}, fmt.Errorf("its result is none of an HTTP load: %.200q", text)
	}
	r := Result{
		Version: a.Version, Start: *a.StartTime, Took: *a.ActualDuration, Codes: map[int]int64{}, Sockets: a.SocketCount,
		Mean: a.DurationHistogram.Avg, Max: a.DurationHistogram.Max,
	}
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for text, n := range a.RetCodes {
		code, err := strconv.Atoi(text)
		wrong(err != nil || code != socketError && (code < 100 || code > 999), "its result counts calls with the status %q", text)
		wrong(n < 0, "its result counts %d calls with the status %s", n, text)
		if n > 0 {
			r.Codes[code] = n
		}
		r.Count += n
	}
	wrong(a.RunType != "HTTP", "its result is that of a load of type %q", a.RunType)
	wrong(a.Labels != o.Labels, "its result is that of the load %q, and %q was asked for", a.Labels, o.Labels)
	wrong(r.Took < 0 || r.Start.IsZero(), "its result has no time: start %s, duration %s", r.Start, r.Took)
	wrong(*a.Exactly != o.calls, "it was asked for %d calls and understood %d", o.calls, *a.Exactly)
	wrong(*a.NumThreads != o.threads, "it was asked for %d connections and made %d", o.threads, *a.NumThreads)
	wrong(*a.DurationHistogram.Count != r.Count, "it timed %d calls and counted the statuses of %d", *a.DurationHistogram.Count, r.Count)
	wrong(r.Count > o.calls || r.Count < o.calls && !stopped, "it was asked for %d calls and counted %d", o.calls, r.Count)
	return r, errors.Join(errs...)
}

// reason is why Fortio made no load.
func (a *answer) reason() string {
	switch {
	case a.Exception == "":
		return a.Message
	case a.Message == "":
		return a.Exception
	}
	return a.Message + ": " + a.Exception
}
