package fortiorest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"squall/internal/load"
	"squall/internal/record"
)

// kept is a sink that keeps everything.
type kept struct {
	mu  sync.Mutex
	all []record.Request
}

func (k *kept) Request(q record.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, q)
}

const start = "2026-01-01T00:00:10.250Z"

func entry(mark, more string) []byte {
	return fmt.Appendf(nil, `{"load":%q,"start":%q,"duration_ms":12,"request_id":"r","upstream_cluster":"outbound|8000||httpbin.ns","downstream":"10.0.0.1:4000",%s}`, mark, start, more)
}

func calls(t *testing.T, timeout time.Duration) (*Calls, *kept, *load.Progress) {
	t.Helper()
	base, err := time.Parse(time.RFC3339, "2026-01-01T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	sink, progress := &kept{}, &load.Progress{}
	k := Clock{least: time.Second, most: 3 * time.Second}
	return NewCalls("squall-1-one", k, timeout, load.Output{Base: base, Sink: sink, Progress: progress}), sink, progress
}

func TestCalls(t *testing.T) {
	c, sink, progress := calls(t, 150*time.Millisecond)
	for _, line := range [][]byte{
		entry("squall-1-one", `"code":200,"flags":"-","details":"via_upstream","bytes_sent":7,"duration_us":12345`),
		entry("squall-1-two", `"code":200,"flags":"-"`),
		entry("", `"code":200,"flags":"-","path":"/squall-1-one"`),
		[]byte(`{"load":"squall-1-one","upstream_cluster":"inbound|8080||","code":200}`),
		[]byte(`{"load":null,"method":null,"code":0,"flags":"-"}`),
		[]byte(strings.Replace(string(entry("squall-1-one", `"code":503,"flags":"UO"`)), "4000", "4001", 1)),
		entry("squall-1-one", `"code":0,"flags":"DC","details":"downstream_remote_disconnect"`),
		[]byte(strings.Replace(string(entry("squall-1-one", `"code":0,"flags":"DC","details":"downstream_remote_disconnect"`)), `s":12`, `s":149`, 1)),
		entry("squall-1-one", `"code":200,"flags":"DC","details":"downstream_remote_disconnect"`),
		entry("squall-1-one", `"code":200,"flags":"UC","details":"upstream_reset_after_response_started{connection_termination}"`),
		entry("squall-1-one", `"code":503,"flags":"DC","details":"downstream_remote_disconnect"`),
	} {
		c.Line(line)
	}
	tally, texts, err := c.End()
	if err != nil {
		t.Fatal(err)
	}
	if want := "{7 map[-1:2 200:1 503:2] map[200:2]}"; fmt.Sprint(tally) != want {
		t.Errorf("%v, not %s", tally, want)
	}
	var got []string
	for _, q := range sink.all {
		got = append(got, fmt.Sprintf("%d %s %d", q.Code, q.Error, q.Conn))
	}
	if want := "[200  0 503  1 0 reset 0 0 timeout 0 200 eof 0 200 eof 0 503  0]"; fmt.Sprint(got) != want {
		t.Errorf("%v, not %s", got, want)
	}
	if q := sink.all[0]; q.Start != 12.25 || q.Latency != 0.012345 || q.Bytes != 7 || q.ID != "r" || q.Late != 0 || q.Version != "" {
		t.Errorf("%+v", q)
	}
	if q := sink.all[1]; q.Latency != 0.012 {
		t.Errorf("%+v", q)
	}
	if s := progress.Snapshot(); s.Count != 7 || s.Failed != 4 {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(texts["reset"], "downstream_remote_disconnect") || len(texts) != 3 {
		t.Errorf("%v", texts)
	}
	if err := c.Late(); err != nil {
		t.Error(err)
	}
	c.Line(entry("squall-1-one", `"code":200,"flags":"-"`))
	var mismatch *MismatchError
	if err := c.Late(); !errors.As(err, &mismatch) || len(sink.all) != 7 {
		t.Errorf("%v, %d calls", err, len(sink.all))
	}
}

func TestCallsAreAwaited(t *testing.T) {
	c, _, _ := calls(t, 0)
	go func() {
		for range 3 {
			c.Line(entry("squall-1-one", `"code":200,"flags":"-"`))
		}
	}()
	if err := c.Await(t.Context(), 3); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("not in time"))
	defer cancel()
	if err := c.Await(ctx, 4); err == nil || err.Error() != "the access log has 3 of 4 calls: not in time" {
		t.Error(err)
	}
	c.Line([]byte(`{"load":"squall-1-one","code":"many"}`))
	if err := c.Await(t.Context(), 4); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Error(err)
	}
	if _, _, err := c.End(); err == nil {
		t.Error("a log that cannot be read is taken")
	}
}

func TestReconcile(t *testing.T) {
	type codes = map[int]int64
	for name, c := range map[string]struct {
		counted      codes
		sure, broken codes
		want         string
	}{
		"none":                      {codes{}, codes{}, nil, ""},
		"equal":                     {codes{200: 9, 503: 1}, codes{200: 9, 503: 1}, nil, ""},
		"no answer":                 {codes{200: 9, -1: 1}, codes{200: 9, -1: 1}, nil, ""},
		"zeros are none":            {codes{200: 9, 404: 0}, codes{200: 9}, nil, ""},
		"another status":            {codes{200: 9, 503: 1}, codes{200: 10}, nil, "Fortio counted 10 calls (200 × 9, 503 × 1), and the access log of its proxy has 10 calls (200 × 10)"},
		"too few entries":           {codes{200: 10}, codes{200: 9}, nil, "leave no entry"},
		"no entries":                {codes{200: 10}, codes{}, nil, "has 0 calls; calls"},
		"too many entries":          {codes{200: 10}, codes{200: 11}, nil, "counts it once"},
		"no answer, and one at log": {codes{200: 9, -1: 1}, codes{200: 10}, nil, "no answer × 1"},
		"an answer, and none there": {codes{200: 10}, codes{200: 9, -1: 1}, nil, "no answer × 1"},
		"swapped":                   {codes{200: 5, 503: 5}, codes{200: 6, 503: 4}, nil, "200 × 6"},
		"broken, counted as status": {codes{200: 10}, codes{200: 9}, codes{200: 1}, ""},
		"broken, counted as none":   {codes{200: 9, -1: 1}, codes{200: 9}, codes{200: 1}, ""},
		"broken, both":              {codes{200: 11, -1: 2}, codes{200: 9, -1: 1}, codes{200: 3}, ""},
		"more broken than there":    {codes{200: 8, -1: 2}, codes{200: 9}, codes{200: 1}, "200 that broke off × 1"},
		"broken, another status":    {codes{200: 9, 503: 1}, codes{200: 9}, codes{200: 1}, "503 × 1"},
		"broken and a lost one":     {codes{200: 9}, codes{200: 9}, codes{200: 1}, "counts it once"},
	} {
		tally := Tally{Sure: c.sure, Broken: c.broken}
		for _, m := range []codes{c.sure, c.broken} {
			for _, n := range m {
				tally.Total += n
			}
		}
		err := Reconcile(c.counted, tally)
		var mismatch *MismatchError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &mismatch) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v does not say %q", name, err, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := load.Spec{URL: "http://a/", Connections: 1, Requests: 10, Method: "GET"}
	if bad := Check(good); len(bad) > 0 {
		t.Errorf("%v", bad)
	}
	for field, change := range map[string]func(*load.Spec){
		"protocol":                func(s *load.Spec) { s.Protocol = load.H2 },
		"url":                     func(s *load.Spec) { s.URL = "https://a/" },
		"method":                  func(s *load.Spec) { s.Method = "HEAD" },
		"find":                    func(s *load.Spec) { s.Find = []load.Find{{Name: "a", Text: "b"}} },
		"versionHeader":           func(s *load.Spec) { s.VersionHeader = "x-version" },
		"noCatchUp":               func(s *load.Spec) { s.NoCatchUp, s.QPS, s.Duration, s.Requests = true, 10, time.Second, 0 },
		"duration":                func(s *load.Spec) { s.Duration, s.Requests = time.Second, 0 },
		"newConnectionPerRequest": func(s *load.Spec) { s.NewConnectionPerRequest = true },
		"headers":                 func(s *load.Spec) { s.Headers = []load.Header{{Name: "X-Squall-Load", Value: "1"}} },
	} {
		s := good
		change(&s)
		if bad := Check(s); len(bad) != 1 || bad[0].Field != field {
			t.Errorf("%s: %v", field, bad)
		}
	}
	s := good
	s.Body = []byte("an id: {uuid}")
	if bad := Check(s); len(bad) != 1 || bad[0].Field != "url" {
		t.Errorf("%v", bad)
	}
}
