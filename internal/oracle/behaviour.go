package oracle

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"squall/internal/rules"
)

// Annotation is where a pod template, or its Deployment, says what the application does by itself, as a Behaviour in YAML.
const Annotation = "squall.dev/behaviour"

// Behaviour is what an application does with a request. Paths come first; what none of them fits is answered as the rest says.
type Behaviour struct {
	Answer `json:",inline"`
	Paths  []PathAnswer `json:"paths,omitempty"`
}

// PathAnswer is what is done with the requests for a path: an exact one, or a prefix that ends in *.
type PathAnswer struct {
	Path   string `json:"path"`
	Answer `json:",inline"`
}

// Answer is how a request is answered. The zero Answer is 200, at once.
type Answer struct {
	// Status is the answer's code; 0 is 200.
	Status int `json:"status,omitempty"`
	// Failure is the share of requests, from 0 to 1, that get FailureStatus (0: 500) instead, before anybody is called.
	Failure       float64 `json:"failure,omitempty"`
	FailureStatus int     `json:"failureStatus,omitempty"`
	// Latency is added to each answer.
	Latency Duration `json:"latency,omitempty"`
	// Calls are made in their order, or all at once when Parallel.
	Calls    []Call `json:"calls,omitempty"`
	Parallel bool   `json:"parallel,omitempty"`
	// Undeclared says that the code, the time and the calls are not said here.
	Undeclared bool `json:"undeclared,omitempty"`
}

// Call is one request to another service.
type Call struct {
	Host   string `json:"host"`
	Port   int    `json:"port"`
	Path   string `json:"path,omitempty"`   // "" is not known
	Method string `json:"method,omitempty"` // "" is GET
	// Timeout is after how long one try is given up; 0 is never.
	Timeout Duration `json:"timeout,omitempty"`
	// Tries is how often the call is made until it succeeds; 0 is once. A call fails without an answer and with codes from 400 on.
	Tries int `json:"tries,omitempty"`
	// OnError is what a call that failed does to the answer: ok (nothing; the default), fail (500) or a status. Unless it is ok, nothing
	// further is called.
	OnError OnError `json:"onError,omitempty"`
	// Forwards are headers of the request that the call has too.
	Forwards []string `json:"forwards,omitempty"`
	// SignIn maps headers of the call to the fields of the form with which the client signed in.
	SignIn map[string]string `json:"signIn,omitempty"`
}

// OnError is the status that a failed call leads to; 0 is none.
type OnError int

// UnmarshalJSON takes ok, fail or a status from 400 to 599.
func (o *OnError) UnmarshalJSON(data []byte) error {
	switch text := strings.Trim(string(data), `"`); text {
	case "ok", "null":
		*o = 0
	case "fail":
		*o = 500
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n < 400 || n > 599 {
			return fmt.Errorf("onError is %s: write ok, fail or a status from 400 to 599", text)
		}
		*o = OnError(n)
	}
	return nil
}

// Duration is written as Go writes it, such as 2.5s.
type Duration time.Duration

// UnmarshalJSON takes a text such as 2.5s.
func (d *Duration) UnmarshalJSON(data []byte) error {
	v, err := time.ParseDuration(strings.Trim(string(data), `"`))
	if err != nil || v < 0 {
		return fmt.Errorf("%s is no time: write it with a unit, such as 2.5s", data)
	}
	*d = Duration(v)
	return nil
}

// maxCalls and maxTries bound what a declaration can make Predict do.
const (
	maxCalls = 16
	maxTries = 10
)

// Parse decodes a Behaviour strictly and says everything that is wrong with it.
func Parse(text string) (*Behaviour, error) {
	b := &Behaviour{}
	if err := yaml.UnmarshalStrict([]byte(text), b); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", Annotation, err)
	}
	errs := b.check("")
	for i, p := range b.Paths {
		at := fmt.Sprintf("paths[%d].", i)
		if !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, fmt.Errorf("%spath is %q: write a path that begins with /", at, p.Path))
		}
		errs = append(errs, p.check(at)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%s: %w", Annotation, err)
	}
	return b, nil
}

func (a Answer) check(at string) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(at+format, args...)) }
	if !(a.Failure >= 0 && a.Failure <= 1) {
		bad("failure is %v: write a share from 0 to 1", a.Failure)
	}
	for name, status := range map[string]int{"status": a.Status, "failureStatus": a.FailureStatus} {
		if status != 0 && (status < 200 || status > 599) {
			bad("%s is %d: write one from 200 to 599", name, status)
		}
	}
	if len(a.Calls) > maxCalls {
		bad("calls are %d: at most %d", len(a.Calls), maxCalls)
	}
	for i, c := range a.Calls {
		if c.Host == "" || c.Port < 1 || c.Port > 65535 {
			bad("calls[%d] needs a host and a port", i)
		}
		if c.Tries < 0 || c.Tries > maxTries {
			bad("calls[%d].tries is %d: from 1 to %d", i, c.Tries, maxTries)
		}
	}
	return errs
}

// behaviourOf is what a workload declares; nil without a declaration.
func behaviourOf(w *rules.Workload) (*Behaviour, error) {
	text, ok := w.Annotations[Annotation]
	if !ok {
		text, ok = w.Ref.Object.GetAnnotations()[Annotation]
	}
	if !ok {
		return nil, nil //nolint:nilnil // there is none, and nothing is wrong
	}
	b, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.Ref, err)
	}
	return b, nil
}

// at is what the application does with a path.
func (b *Behaviour) at(path string) Answer {
	path, _, _ = strings.Cut(path, "?")
	i := slices.IndexFunc(b.Paths, func(p PathAnswer) bool {
		prefix, open := strings.CutSuffix(p.Path, "*")
		return p.Path == path || open && strings.HasPrefix(path, prefix)
	})
	if i < 0 {
		return b.Answer
	}
	return b.Paths[i].Answer
}
