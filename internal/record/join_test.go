package record

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// uuid is a canonical UUID made of n, with the version digit v.
func uuid(n int, v byte) string {
	return fmt.Sprintf("%08x-0000-%cabc-8def-%012x", n, v, n)
}

// joinedRun has requests and the access logs of two proxies, of which squall-load is the load generator's.
func joinedRun(t testing.TB, requests []Request, access string) *Run {
	t.Helper()
	r := newRun(t)
	w, err := r.RequestWriter("p")
	must(t, err)
	for _, q := range requests {
		w.Request(q)
	}
	must(t, w.Close())
	must(t, r.WriteProxies([]Proxy{
		{Pod: "httpbin-v1", IP: "127.1.0.4", Labels: map[string]string{"version": "v1"}},
		{Pod: "squall-load", IP: "127.1.0.2", Client: true},
		{Pod: "plain", IP: "127.1.0.5"},
	}))
	writeFile(t, r.Path(accessFile("p", "squall-load")), access)
	writeFile(t, r.Path(accessFile("p", "httpbin-v1")), access) // never read: the join is with the caller's own proxy
	return r
}

func entry(id, cluster, host, flags, details string) string {
	return fmt.Sprintf(`{"code":200,"request_id":%q,"upstream_cluster":%q,"upstream_host":%q,"flags":%q,"details":%q,"route":"r","attempts":1}`+"\n",
		id, cluster, host, flags, details)
}

func TestSamples(t *testing.T) {
	const out, in = "outbound|8000||httpbin.ns.svc.cluster.local", "inbound|8080||"
	const host = "127.1.0.4:8080"
	requests := []Request{
		{Code: 200, ID: uuid(0, '4'), Version: "header"}, // answered by a pod with a version
		{Code: 503, ID: uuid(1, '4')},                    // shed by the proxy itself
		{Code: 200, ID: "no-uuid", Version: "header"},    // answered by a pod without a version
		{Error: "timeout"},                               // no answer, no id
		{Code: 200, ID: uuid(4, '4')},                    // no entry
		{Code: 200, ID: uuid(5, '4')},                    // two entries
		{Code: 200, ID: uuid(6, '4')},                    // two requests, one entry
		{Code: 200, ID: uuid(6, '4')},
		{Code: 200, ID: uuid(8, '4')}, // only an inbound entry
		{Code: 504, ID: uuid(9, '4')}, // given up on by the proxy after it chose a host
		{Code: 404, ID: uuid(10, '4')},
	}
	access := entry(uuid(10, '4'), "", "", "NR", "route_not_found") +
		entry(uuid(1, '4'), out, "-", "UO", "upstream_reset_before_response_started{overflow}") +
		entry(uuid(0, '9'), out, host, "-", "via_upstream") + // traced
		entry("no-uuid", out, "127.1.0.5:80", "-", "via_upstream") +
		entry(uuid(5, '4'), out, host, "-", "via_upstream") + entry(uuid(5, '4'), out, host, "-", "via_upstream") +
		entry(uuid(6, '4'), out, host, "-", "via_upstream") +
		entry(uuid(8, '4'), in, host, "-", "via_upstream") +
		entry(uuid(9, '4'), out, host, "UT,URX", "response_timeout") +
		entry("-", out, host, "-", "via_upstream")
	want := []Sample{
		{Joined: true, Route: "r", Upstream: host, Pod: "httpbin-v1", Answered: "v1", Attempts: 1},
		{Joined: true, Route: "r", Flags: []string{"UO"}, Attempts: 1},
		{Joined: true, Route: "r", Upstream: "127.1.0.5:80", Pod: "plain", Answered: "header", Attempts: 1},
		{}, {}, {}, {}, {}, {},
		{Joined: true, Route: "r", Flags: []string{"UT", "URX"}, Attempts: 1},
		{Joined: true, Route: "r", Flags: []string{"NR"}, Attempts: 1},
	}
	r := joinedRun(t, requests, access)
	for _, block := range []int{1, 2, 3, 4, 11, 12, 1000} {
		got, errs := collect(r.samples("p", block))
		must(t, errors.Join(errs...))
		if len(got) != len(requests) {
			t.Fatalf("block %d: %d samples of %d requests", block, len(got), len(requests))
		}
		for i, s := range got {
			w := want[i]
			w.Request = requests[i]
			if (i == 6 || i == 7) && block < 8 && s.Joined {
				continue // the two requests of one id are not always read together
			}
			if w.Answered == "" {
				w.Answered = requests[i].Version
			}
			if !reflect.DeepEqual(s, w) {
				t.Errorf("block %d, request %d: got\n%+v, want\n%+v", block, i, s, w)
			}
		}
	}
}

func TestSamplesWithoutAccessLog(t *testing.T) {
	for _, file := range []string{ProxiesFile, accessFile("p", "squall-load")} {
		r := joinedRun(t, []Request{{Code: 200, ID: "a", Version: "v9"}}, entry("a", "outbound|", "1.1.1.1:1", "-", "-"))
		must(t, removeFile(r, file))
		got, errs := collect(r.Samples("p"))
		must(t, errors.Join(errs...))
		want := []Sample{{Request: Request{Code: 200, ID: "a", Version: "v9"}, Answered: "v9"}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("without %s: got %+v, want %+v", file, got, want)
		}
	}
}

func TestSamplesReportADamagedAccessLog(t *testing.T) {
	text := "rubbish\n" + entry("a", "outbound|", "1.1.1.1:1", "-", "-") + `{"code":2`
	r := joinedRun(t, []Request{{Code: 200, ID: "a"}, {Code: 200, ID: "b"}}, text)
	got, errs := collect(r.Samples("p"))
	if len(got) != 2 || !got[0].Joined || got[1].Joined {
		t.Errorf("got %+v", got)
	}
	if len(errs) != 2 || !errors.Is(errs[1], ErrTruncated) || !strings.Contains(errs[0].Error(), "squall-load.ndjson:1:") {
		t.Errorf("got errors %v", errs)
	}
	writeFile(t, r.Path(accessFile("p", "squall-load")), strings.Repeat("x\n", 1000))
	if _, errs := collect(r.Samples("p")); len(errs) != maxAccessErrors {
		t.Errorf("a log of garbage gives %d errors", len(errs))
	}
	must(t, r.WriteJSON(ProxiesFile, "rubbish"))
	if _, errs := collect(r.Samples("p")); len(errs) != 1 {
		t.Errorf("broken proxies: %v", errs)
	}
}

func TestStoppingEarly(t *testing.T) {
	r := joinedRun(t, make([]Request, 10), "")
	n := 0
	for range r.samples("p", 4) {
		if n++; n == 6 {
			break
		}
	}
	if n != 6 {
		t.Errorf("read %d samples", n)
	}
}

// The calls of several workers are joined with the log of the proxy that each went through.
func TestSamplesOfSeveralClients(t *testing.T) {
	const out, host = "outbound|8000||httpbin.ns.svc.cluster.local", "127.1.0.4:8080"
	r := joinedRun(t, []Request{{Code: 200, ID: uuid(0, '4')}, {Code: 200, ID: uuid(1, '4'), Worker: 1, Late: 0.25}, {Code: 200, ID: uuid(2, '4')}},
		entry(uuid(0, '4'), out, host, "-", "via_upstream"))
	must(t, r.WriteProxies([]Proxy{
		{Pod: "httpbin-v1", IP: "127.1.0.4", Labels: map[string]string{"version": "v1"}},
		{Pod: "squall-load", IP: "127.1.0.2", Client: true}, {Pod: "squall-load-1", IP: "127.1.0.3", Client: true},
		{Pod: "squall-load-2", IP: "127.1.0.6", Client: true}, // without a log
	}))
	writeFile(t, r.Path(accessFile("p", "squall-load-1")), entry(uuid(1, '4'), out, host, "UO", "via_upstream"))
	var got []Sample
	for s, err := range r.Samples("p") {
		must(t, err)
		got = append(got, s)
	}
	if len(got) != 3 || !got[0].Joined || !got[1].Joined || got[2].Joined || got[1].Flags[0] != "UO" || got[1].Worker != 1 || got[1].Late != 0.25 {
		t.Errorf("%+v", got)
	}
}

// A pod may get the address of one that is gone. Of a phase's answers only the pods of the phase are asked for, and where two of them had
// the address it is not known which of them answered.
func TestSamplesOfAnAddressThatWasGivenAgain(t *testing.T) {
	pod := func(name, version string) Proxy {
		return Proxy{Pod: name, IP: "127.1.0.4", Labels: map[string]string{"version": version}}
	}
	for _, tt := range []struct {
		name         string
		ever, phase  []Proxy
		pod, version string
	}{
		{"another pod before", []Proxy{pod("new", "v2"), pod("old", "v1")}, []Proxy{pod("new", "v2")}, "new", "v2"},
		{"another pod later", []Proxy{pod("old", "v1"), pod("new", "v2")}, []Proxy{pod("old", "v1")}, "old", "v1"},
		{"two in one phase", []Proxy{pod("old", "v1"), pod("new", "v2")}, []Proxy{pod("old", "v1"), pod("new", "v2")}, "", ""},
		{"two of one version", []Proxy{pod("old", "v1"), pod("new", "v1")}, []Proxy{pod("old", "v1"), pod("new", "v1")}, "", "v1"},
		{"a run that noted no phases", []Proxy{pod("old", "v1")}, nil, "old", "v1"},
	} {
		r := joinedRun(t, []Request{{Code: 200, ID: uuid(0, '4')}}, entry(uuid(0, '4'), "outbound|8000||h", "127.1.0.4:8080", "-", "via_upstream"))
		client := Proxy{Pod: "squall-load", IP: "127.1.0.2", Client: true}
		must(t, r.WriteProxies(append(tt.ever, client)))
		if tt.phase != nil {
			must(t, r.WritePhaseProxies("p", append(tt.phase, client)))
		}
		got, errs := collect(r.Samples("p"))
		must(t, errors.Join(errs...))
		if len(got) != 1 || !got[0].Joined || got[0].Pod != tt.pod || got[0].Answered != tt.version {
			t.Errorf("%s: %+v, want pod %q of %q", tt.name, got, tt.pod, tt.version)
		}
	}
}
