package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"squall/internal/record"
)

// copied is a run of 10 requests that the load generator's proxy sent to v1, each of which ended as a time-out, and copied to v2.
func copied() *memory {
	m := &memory{
		samples: map[string][]record.Sample{}, access: map[string][]record.Access{}, load: map[string]record.Load{},
		proxies: []record.Proxy{
			{Pod: client, IP: "127.0.0.9", Client: true},
			{Pod: server1, IP: "127.0.0.2", Labels: map[string]string{"version": "v1"}, Services: []string{"httpbin"}},
			{Pod: server2, IP: "127.0.0.3", Labels: map[string]string{"version": "v2"}, Services: []string{"httpbin"}},
		},
	}
	for i := range 10 {
		id := fmt.Sprintf("06c66c76-c9d5-4748-a879-%012d", i)
		m.samples["breaker"] = append(m.samples["breaker"], record.Sample{Request: record.Request{Code: 504, ID: id}, Joined: true, Flags: []string{"UT"}})
		m.access["breaker/"+client] = append(m.access["breaker/"+client], record.Access{
			Code: 504, Flags: "UT", Cluster: "outbound|8000|v1|httpbin.squall.svc.cluster.local", Upstream: "127.0.0.2:8080", Attempts: 1, RequestID: id,
			Details: "response_timeout",
		})
		in := record.Access{Flags: "DC", Cluster: "inbound|8080||", Downstream: "127.0.0.9:40000", Upstream: "127.0.0.2:18080", Attempts: 1, RequestID: id}
		m.access["breaker/"+server1] = append(m.access["breaker/"+server1], in)
		in.Code, in.Flags = 200, "-"
		m.access["breaker/"+server2] = append(m.access["breaker/"+server2], in)
	}
	m.loaded("breaker")
	return m
}

// edit changes the entries of a pod's log.
func (m *memory) edit(pod string, f func(i int, a *record.Access)) {
	for i := range m.access["breaker/"+pod] {
		f(i, &m.access["breaker/"+pod][i])
	}
}

// TestCopies counts what a mirror sent. What the old proof, more arrivals than answers, takes for copies is named where it is none.
func TestCopies(t *testing.T) {
	const some = `copies(httpbin, version == "v2").count > 0`
	tests := []struct {
		name   string
		edit   func(m *memory)
		stmt   string
		want   Verdict
		reason string
	}{
		{"originals time out", func(*memory) {}, `copies(httpbin, version == "v2").count == 10`, Pass, "= 10"},
		// Of an original that was given up it is not known whether it came to v1.
		{"no copy at v1", func(*memory) {}, `copies(httpbin, version == "v1").count > 0`, Inconclusive, "= 0 [0, 10]"},
		{"no copy at v1, which answers", func(m *memory) {
			m.edit(client, func(_ int, a *record.Access) { a.Details = "via_upstream" })
		}, `copies(httpbin, version == "v1").count == 0`, Pass, ""},
		{"of all versions", func(*memory) {}, "copies(httpbin).count > 9", Pass, "= 10 [10, 20]"},
		{"narrowed", func(*memory) {}, `copies(httpbin, version == "v2" && code == 500).count == 0`, Pass, ""},
		{"the trace digit differs", func(m *memory) {
			m.edit(server2, func(_ int, a *record.Access) { a.RequestID = strings.Replace(a.RequestID, "-4748-", "-9748-", 1) })
		}, some, Pass, ""},
		{"nothing arrived", func(m *memory) { m.access["breaker/"+server2] = []record.Access{} }, some, Fail, "= 0"},
		// Ten arrivals and no answer.
		{"originals to v2 time out", func(m *memory) {
			m.access["breaker/"+server1] = []record.Access{}
			m.edit(client, func(_ int, a *record.Access) { a.Upstream = "127.0.0.3:8080" })
		}, some, Inconclusive, "= 0 [0, 10]"},
		// Twenty arrivals and no answer: the proxy tried each request a second time.
		{"attempts at v2", func(m *memory) {
			m.access["breaker/"+server1] = []record.Access{}
			m.access["breaker/"+server2] = append(m.access["breaker/"+server2], m.access["breaker/"+server2]...)
			m.edit(client, func(_ int, a *record.Access) { a.Upstream, a.Attempts = "127.0.0.3:8080", 2 })
		}, some, Inconclusive, "copies(httpbin, version == \"v2\").count = 0 [0, 20] (attempts or copies): what is known does not decide"},
		{"attempts beside copies", func(m *memory) {
			m.edit(client, func(i int, a *record.Access) { a.Attempts = 1 + i%2 })
		}, some, Pass, "= 5 [5, 10]"},
		{"the same pod gets both", func(m *memory) {
			m.access["breaker/"+server1] = []record.Access{}
			m.access["breaker/"+server2] = append(m.access["breaker/"+server2], m.access["breaker/"+server2]...)
			m.edit(client, func(_ int, a *record.Access) { a.Upstream, a.Details = "127.0.0.3:8080", "via_upstream" })
		}, `copies(httpbin, version == "v2").count == 10`, Pass, "= 10"},
		// A program without a proxy hands ids on, such as to the next service.
		{"others with the id", func(m *memory) {
			m.edit(server2, func(_ int, a *record.Access) { a.Downstream = "127.0.0.77:5000" })
		}, some, Fail, "= 0"},
		{"the caller did not send it", func(m *memory) { m.access["breaker/"+client] = []record.Access{} }, some, Fail, "= 0"},
		{"a tunnel", func(m *memory) {
			m.edit(client, func(_ int, a *record.Access) { a.Upstream = "envoy://connect_originate/10.0.0.1:8080" })
		}, some, Inconclusive, "does not decide"},
		{"no pod was chosen", func(m *memory) { m.edit(client, func(_ int, a *record.Access) { a.Upstream = "" }) }, some, Pass, "= 10"},
		{"no ids", func(m *memory) { m.edit(server2, func(_ int, a *record.Access) { a.RequestID = "" }) }, some, Inconclusive, "10 of 20 entries have no request id"},
		{"a log is lost", func(m *memory) { delete(m.access, "breaker/"+client) }, some, Inconclusive, "the access log of squall-load-1 is incomplete"},
		{"a caller ended", func(m *memory) { m.proxies[0].Ended = "deleted" }, some, Inconclusive, "incomplete: deleted"},
		{"logs are behind", func(m *memory) { m.load["breaker"] = record.Load{Count: 10, Complete: "3 are missing"} }, some, Inconclusive, "3 are missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := copied()
			tt.edit(m)
			if got := judge(t, m, tt.stmt); got.Verdict != tt.want || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("%s: %v: %s, want %v: …%s…", tt.stmt, got.Verdict, got.Reason, tt.want, tt.reason)
			}
		})
	}
}

// TestSavedMirror judges a run of the real mesh whose mirrored requests all timed out, as it is and with its logs changed to what they are
// without copies. By more arrivals than answers all of these would pass.
func TestSavedMirror(t *testing.T) {
	const v1, v2, caller = "phases/mirrored/access/httpbin-0.ndjson", "phases/mirrored/access/httpbin-v2-0.ndjson", "phases/mirrored/access/squall-load-0.ndjson"
	tests := []struct {
		name   string
		edit   func(t *testing.T, dir string)
		want   Verdict
		code   int
		reason string
	}{
		{"as it is", func(*testing.T, string) {}, Pass, 0, ""},
		{"the originals went to v2", func(t *testing.T, dir string) {
			replace(t, dir, caller, `"upstream_host":"127.117.16.1:8080"`, `"upstream_host":"127.117.16.2:8080"`, -1)
			if err := os.Truncate(filepath.Join(dir, v1), 0); err != nil {
				t.Fatal(err)
			}
		}, Inconclusive, 4, `fault not proven: copies("httpbin", version == "v2").count = 0 [0, 20] (attempts or copies)`},
		{"others called v2", func(t *testing.T, dir string) {
			replace(t, dir, v2, `"request_id":"`, `"request_id":"of-others-`, -1)
		}, Inconclusive, 4, `fault not proven: copies("httpbin", version == "v2").count = 0: > 0 does not hold`},
		{"no ids", func(t *testing.T, dir string) {
			replace(t, dir, v2, `"request_id":`, `"request_id":null,"bytes_sent":0,"x":`, -1)
		}, Inconclusive, 4, "20 of 40 entries have no request id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, run := copyOf(t, "mirror")
			tt.edit(t, dir)
			res, err := JudgeRun(run)
			if err != nil {
				t.Fatal(err)
			}
			if res.Verdict != tt.want || res.ExitCode != tt.code || !strings.Contains(res.Reason, tt.reason) {
				t.Errorf("%v, exit code %d: %s\nwant %v, %d: …%s…", res.Verdict, res.ExitCode, res.Reason, tt.want, tt.code, tt.reason)
			}
		})
	}
}
