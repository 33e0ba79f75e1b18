// Package worker drives a load from another place than Squall's own process: a Server makes the calls where it runs, such as in a
// pod beside a proxy, and a Client tells it what to call and takes the record of each call. It owns the protocol between them.
//
// The protocol is HTTP/1.1 with JSON:
//
//	GET  /healthz   ok
//	GET  /clock     clockAnswer: the worker's own clock, and who it is
//	POST /signin    signInRequest: one request before a load; answers the headers of the session
//	POST /load      loadRequest: answers lines until the load is over. The body stays open while the load is wanted: when it ends, the
//	                load is broken off and its end still told; when the connection dies, the load is broken off at once.
//
// A line of a load is a call as requests.ndjson has it, with its time since the load's start, or an object with one key:
//
//	{"alive":{"calls":1200,"waiting":4096}}     now and then: calls finished, and bytes that wait to be sent
//	{"end":{"load":{…},"lines":1200,"error":""}} the last one: what was achieved, and how many calls were sent before it
//
// Nothing is averaged or left out: a load whose end does not come, or whose lines are not as many as its end says, is lost.
package worker

import (
	"errors"
	"fmt"
	"time"

	"squall/internal/load"
	"squall/internal/record"
)

// Port is where a worker listens unless it is told otherwise.
const Port = 8123

// Limits of the protocol.
const (
	maxRequest  = 64 << 20               // bytes of a load or a sign-in
	maxLine     = 1 << 20                // bytes of one line
	maxAhead    = time.Minute            // between the order of a load and its start
	aliveEvery  = 250 * time.Millisecond // how often a load says that it is alive
	silentAfter = 10 * time.Second       // without a line the load is lost
	abortWithin = 2 * time.Second        // how long the end of a load is waited for that was broken off
)

// DefaultBuffer is how many bytes of calls a worker keeps for a client that takes them too slowly.
const DefaultBuffer = 64 << 20

// clockAnswer is what a worker's clock shows. Its zero is when the worker started, so that no correction of the machine's time moves
// it, and Process tells one start from another.
type clockAnswer struct {
	Process string        `json:"process"`
	Now     time.Duration `json:"now"` // nanoseconds
}

// spec is a load with what load.Spec keeps out of JSON.
type spec struct {
	load.Spec
	Trust *load.TLS `json:"trust,omitempty"`
}

func specOf(s load.Spec) spec { return spec{Spec: s, Trust: s.TLS} }

func (s spec) load() load.Spec {
	out := s.Spec
	out.TLS = s.Trust
	return out
}

// signInRequest asks for a session of a load.
type signInRequest struct {
	SignIn load.SignIn `json:"signIn"`
	Trust  *load.TLS   `json:"trust,omitempty"`
	Of     spec        `json:"of"`
}

type signInAnswer struct {
	Headers []load.Header `json:"headers"`
}

// loadRequest orders a load.
type loadRequest struct {
	Process string        `json:"process"` // the one whose clock was read
	At      time.Duration `json:"at"`      // on that clock
	Spec    spec          `json:"spec"`
}

// aliveLine is a sign of life.
type aliveLine struct {
	Calls   int64 `json:"calls"`
	Waiting int   `json:"waiting"`
}

// endLine is how a load ended.
type endLine struct {
	Load  record.Load `json:"load"`
	Lines int64       `json:"lines"`
	Error string      `json:"error,omitempty"`
}

// failure is the answer to a request that is refused.
type failure struct {
	Error string `json:"error"`
}

// LostError says that a worker's load did not come to an end that is known: its process died, its connection broke, or what it sent
// was not whole. Nothing can be said of the calls that it made and did not tell of.
type LostError struct {
	Worker string
	Err    error
}

func (e *LostError) Error() string { return fmt.Sprintf("worker %s was lost: %v", e.Worker, e.Err) }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

var (
	// ErrBusy is the error of a worker that drives another load.
	ErrBusy = errors.New("it drives another load: end that one, or use another worker")
	// ErrSlow is the error of a load that was broken off because its calls could not be handed over as fast as they were made.
	ErrSlow = errors.New("the records of its calls were not taken as fast as they were made: ask for a lower rate or for more workers")

	errRestarted = errors.New("the worker was started anew after its clock was read")

	errAborted = errors.New("the load is not wanted any more")
)
