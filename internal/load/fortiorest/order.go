package fortiorest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"squall/internal/load"
)

// markHeader is on each call of a load; proxies have it in their access logs.
const markHeader = "x-squall-load"

// uuidToken is what Fortio replaces by a random text.
const uuidToken = "{uuid}"

// order is the request for a run, as Fortio's REST API takes it: all values are strings.
type order struct {
	URL     string   `json:"url"`
	Method  string   `json:"X"`
	Payload string   `json:"payload,omitempty"`
	Headers []string `json:"headers"`
	Threads string   `json:"c"`
	Calls   string   `json:"n"`
	QPS     string   `json:"qps"`
	Timeout string   `json:"timeout"`
	Jitter  string   `json:"jitter,omitempty"`
	Uniform string   `json:"uniform,omitempty"`
	Resolve string   `json:"resolve,omitempty"` // IP address in place of the URL's host
	Labels  string   `json:"labels"`            // come back with the result

	calls   int64
	threads int
	timeout time.Duration
}

// Requests is how many calls a load is: what a rate makes in a duration where no number is given.
func Requests(s load.Spec) int64 {
	if s.Requests > 0 {
		return s.Requests
	}
	return int64(s.QPS * s.Duration.Seconds())
}

// newOrder is the order of a load whose calls bear the mark.
func newOrder(s load.Spec, mark string) (*order, error) {
	if bad := Check(s); len(bad) > 0 {
		return nil, fmt.Errorf("%s: %s", bad[0].Field, bad[0].What)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	o := &order{
		URL: s.URL, Method: s.HTTPMethod(), Payload: string(s.Body), Labels: mark, Jitter: onOff(s.Jitter), Uniform: onOff(s.Uniform),
		calls: Requests(s), threads: s.Connections, timeout: s.CallTimeout(),
	}
	o.Threads, o.Calls, o.Timeout = strconv.Itoa(o.threads), strconv.FormatInt(o.calls, 10), o.timeout.String()
	o.QPS = "-1" // as fast as it can
	if s.QPS > 0 && o.calls > 1 {
		o.QPS = strconv.FormatFloat(s.QPS, 'g', -1, 64)
	}
	o.Headers = append(o.Headers, markHeader+":"+mark)
	for _, h := range s.Headers {
		o.Headers = append(o.Headers, h.Name+":"+h.Value)
	}
	var err error
	o.Resolve, err = resolve(s)
	return o, err
}

// resolve is the address at which the URL's host is reached, "" for its own.
func resolve(s load.Spec) (string, error) {
	if s.Dial == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(s.Dial)
	if err != nil {
		return "", fmt.Errorf("dial: %w", err)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", fmt.Errorf("url: %w", err)
	}
	if own := load.Port(u); port != own {
		return "", fmt.Errorf("dial: Fortio calls port %s of its URL, and cannot call port %s in its place", own, port)
	}
	return host, nil
}

func (o *order) body() ([]byte, error) { return json.Marshal(o) }

func onOff(on bool) string {
	if on {
		return "on"
	}
	return ""
}

func isTLS(raw string) bool { return strings.HasPrefix(raw, "https://") }

// hasToken says whether Fortio would change the text of the load.
func hasToken(s load.Spec) bool {
	return strings.Contains(s.URL, uuidToken) || strings.Contains(string(s.Body), uuidToken)
}
