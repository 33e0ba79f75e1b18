package check

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"

	"squall/internal/record"
)

// memory is a run in memory. What is not in its maps is absent.
type memory struct {
	samples map[string][]record.Sample
	cutAt   map[string]error // an error after the phase's samples
	access  map[string][]record.Access
	stats   map[string]record.Stats
	proxies []record.Proxy
	load    map[string]record.Load
	files   map[string]any
	usage   map[string][]record.PodUsage
	effects map[string][]record.Effect
	traffic map[string]record.Traffic
	flow    map[string][]record.FlowControl
}

var _ Reader = (*memory)(nil)

func absentFile(name string) error { return fmt.Errorf("open %s: %w", name, fs.ErrNotExist) }

func (m *memory) Samples(phase string) iter.Seq2[record.Sample, error] {
	return func(yield func(record.Sample, error) bool) {
		if m.samples[phase] == nil {
			yield(record.Sample{}, absentFile("requests.ndjson"))
			return
		}
		for _, s := range m.samples[phase] {
			if !yield(s, nil) {
				return
			}
		}
		if err := m.cutAt[phase]; err != nil {
			yield(record.Sample{}, err)
		}
	}
}

func (m *memory) Access(phase, pod string) iter.Seq2[record.Access, error] {
	return func(yield func(record.Access, error) bool) {
		list, ok := m.access[phase+"/"+pod]
		if !ok {
			yield(record.Access{}, absentFile(pod+".ndjson"))
			return
		}
		for _, a := range list {
			if !yield(a, nil) {
				return
			}
		}
	}
}

func (m *memory) Stats(phase, pod, when string) (record.Stats, error) {
	s, ok := m.stats[phase+"/"+pod+"/"+when]
	if !ok {
		return nil, absentFile(pod + "." + when + ".json")
	}
	return s, nil
}

func (m *memory) FlowControl(phase string, when record.When) ([]record.FlowControl, error) {
	f, ok := m.flow[phase+"/"+when]
	if !ok {
		return nil, absentFile("flowcontrol." + when + ".json")
	}
	return f, nil
}

func (m *memory) PhaseProxies(string) ([]record.Proxy, error) {
	if m.proxies == nil {
		return nil, absentFile("proxies.json")
	}
	return m.proxies, nil
}

func (m *memory) Usage(phase string, when record.When) ([]record.PodUsage, error) {
	u, ok := m.usage[phase+"/"+when]
	if !ok {
		return nil, absentFile("usage." + when + ".json")
	}
	return u, nil
}

func (m *memory) Effects(phase string) ([]record.Effect, error) {
	e, ok := m.effects[phase]
	if !ok {
		return nil, absentFile("effects.json")
	}
	return e, nil
}

func (m *memory) Traffic(phase string) (record.Traffic, error) {
	t, ok := m.traffic[phase]
	if !ok {
		return t, absentFile("traffic.json")
	}
	return t, nil
}

func (m *memory) Load(phase string) (record.Load, error) {
	l, ok := m.load[phase]
	if !ok {
		return l, absentFile("load.json")
	}
	return l, nil
}

func (m *memory) ReadJSON(name string, v any) error {
	x, ok := m.files[name]
	if !ok {
		return absentFile(name)
	}
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

const (
	client  = "squall-load-1"
	server1 = "httpbin-v1"
	server2 = "httpbin-v2"
	cluster = "cluster.outbound|8000||httpbin.squall.svc.cluster.local;."
)

// breaker is a run with a baseline of 100 requests of 10 ms and a stage of 200, of which 60 were shed as 503 UO at 1 ms and
// 140 answered at 20 ms, 100 by v1 and 40 by v2.
func breaker() *memory {
	m := &memory{
		samples: map[string][]record.Sample{}, cutAt: map[string]error{}, access: map[string][]record.Access{},
		stats: map[string]record.Stats{}, load: map[string]record.Load{}, files: map[string]any{},
		proxies: []record.Proxy{
			{Pod: client, IP: "127.0.0.9", Client: true, Labels: map[string]string{"app": "squall-load"}},
			{Pod: server1, IP: "127.0.0.2", Labels: map[string]string{"version": "v1"}, Services: []string{"httpbin"}},
			{Pod: server2, IP: "127.0.0.3", Labels: map[string]string{"version": "v2"}, Services: []string{"httpbin"}},
		},
	}
	for i := range 100 {
		m.answered("baseline", i, server1, "v1", 0.010)
	}
	for i := range 60 {
		m.samples["breaker"] = append(m.samples["breaker"], record.Sample{
			Request: record.Request{Start: float64(i) / 100, Latency: 0.001, Code: 503}, Flags: []string{"UO"}, Route: "default", Joined: true,
		})
		m.access["breaker/"+client] = append(m.access["breaker/"+client], record.Access{
			Code: 503, Flags: "UO", Cluster: "outbound|8000||httpbin.squall.svc.cluster.local", Route: "default",
		})
	}
	for i := range 140 {
		pod, version := server1, "v1"
		if i >= 100 {
			pod, version = server2, "v2"
		}
		m.answered("breaker", i, pod, version, 0.020)
	}
	m.access["baseline/"+server2] = []record.Access{}
	m.loaded("baseline")
	m.loaded("breaker")
	m.counted("baseline", client, record.Stats{cluster + "upstream_rq_total": 5, cluster + "upstream_rq_pending_overflow": 7},
		record.Stats{cluster + "upstream_rq_total": 105, cluster + "upstream_rq_pending_overflow": 7})
	m.counted("breaker", client, record.Stats{
		cluster + "upstream_rq_total": 105, cluster + "upstream_rq_pending_overflow": 7, cluster + "upstream_cx_active": 4,
		"http.outbound_0.0.0.0_8000;.fault.delays_injected": 0,
	}, record.Stats{
		cluster + "upstream_rq_total": 245, cluster + "upstream_rq_pending_overflow": 67, cluster + "upstream_cx_active": 1,
		cluster + "upstream_rq_503":                                                               60,
		"http.outbound_0.0.0.0_8000;.fault.delays_injected":                                       3,
		"cluster.outbound|8000|squall-1a2b-s1|httpbin.squall.svc.cluster.local.upstream_rq_total": 9,
		"cluster.outbound|8000|v1|httpbin.squall.svc.cluster.local.upstream_rq_total":             11,
	})
	for _, pod := range []string{server1, server2} {
		m.counted("breaker", pod, record.Stats{"cluster.inbound|8080||;.upstream_rq_total": 1}, record.Stats{"cluster.inbound|8080||;.upstream_rq_total": 71})
		m.counted("baseline", pod, record.Stats{"cluster.inbound|8080||;.upstream_rq_total": 0}, record.Stats{"cluster.inbound|8080||;.upstream_rq_total": 1})
	}
	return m
}

func (m *memory) answered(phase string, i int, pod, version string, latency float64) {
	m.samples[phase] = append(m.samples[phase], record.Sample{
		Request: record.Request{Start: float64(i) / 100, Latency: latency, Code: 200, Conn: i % 2}, Route: "default",
		Upstream: "127.0.0.2:8080", Pod: pod, Answered: version, Attempts: 1, Joined: true,
	})
	m.access[phase+"/"+client] = append(m.access[phase+"/"+client], record.Access{
		Code: 200, Flags: "-", Cluster: "outbound|8000||httpbin.squall.svc.cluster.local", Attempts: 1,
	})
	m.access[phase+"/"+pod] = append(m.access[phase+"/"+pod], record.Access{
		Code: 200, Flags: "-", Method: "GET", Path: "/get", Authority: "httpbin:8000", Cluster: "inbound|8080||", Duration: latency * 1000,
		Principal: "spiffe://cluster.local/ns/squall/sa/squall-load", Attempts: 1,
	})
}

func (m *memory) loaded(phase string) {
	n := int64(len(m.samples[phase]))
	m.load[phase] = record.Load{Count: n, Seconds: 2, QPS: float64(n) / 2, AskedQPS: 100, Connections: 3, Complete: "ok"}
}

func (m *memory) counted(phase, pod string, before, after record.Stats) {
	m.stats[phase+"/"+pod+"/before"], m.stats[phase+"/"+pod+"/after"] = before, after
}
