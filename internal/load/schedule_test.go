package load

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A server that stalls for a second in the middle of an open-loop load of two: the 99th percentile of the latencies does not see it,
// since only the calls that were under way did; that of the responses, which count from when each call was meant to start, does.
func TestAStallIsSeenInTheResponses(t *testing.T) {
	noLeak(t)
	var stalled atomic.Int64
	start := time.Now()
	url, _ := counted(t, func(w http.ResponseWriter, r *http.Request) {
		until := start.Add(1700 * time.Millisecond)
		if wait := time.Until(until); wait > 0 && wait < time.Second {
			stalled.Add(1)
			timer := time.NewTimer(wait)
			defer timer.Stop()
			<-timer.C
		}
		ok(w, r)
	})
	l, all := run(t.Context(), t, Spec{URL: url, Connections: 2, QPS: 200, Duration: 2 * time.Second})
	latencies, responses := make([]float64, 0, len(all)), make([]float64, 0, len(all))
	for _, q := range all {
		latencies, responses = append(latencies, q.Latency), append(responses, q.Latency+q.Late)
	}
	plain, corrected := at(latencies, 0.99), at(responses, 0.99)
	t.Logf("%d calls, of which %d waited: p99 %.3f s, from the intended start %.3f s", l.Count, stalled.Load(), plain, corrected)
	if l.Count > 400 || l.Count < 350 || // a machine that is busy may not get through all of them in time
		plain > 0.3 || corrected < 0.8 {
		t.Errorf("%d calls, p99 %v s, from the intended start %v s", l.Count, plain, corrected)
	}
	if median := at(responses, 0.2); median > 0.2 {
		t.Errorf("a call before the stall took %v s", median)
	}
}

func at(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}

// Where nothing stalls nothing is late, whatever the schedule.
func TestCallsOnTime(t *testing.T) {
	for _, c := range []Spec{
		{QPS: 100, Connections: 2, Requests: 31},
		{QPS: 100, Connections: 3, Duration: 400 * time.Millisecond},
		{QPS: 100, Connections: 3, Duration: 400 * time.Millisecond, Jitter: true},
		{QPS: 100, Connections: 4, Duration: 400 * time.Millisecond, Uniform: true},
		{QPS: 100, Connections: 2, Duration: 400 * time.Millisecond, NoCatchUp: true},
		{Connections: 2, Requests: 100},
		{QPS: 10, Connections: 1, Requests: 1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			url, _ := counted(t, ok)
			c.URL = url
			var median float64
			for range 4 { // on a machine that is busy with other things all may be late once
				l, all := run(t.Context(), t, c)
				var late []float64
				for _, q := range all {
					late = append(late, q.Late)
					if q.Late < 0 || !l.Scheduled && q.Late != 0 || l.Scheduled != (c.QPS > 0 && !c.NoCatchUp && c.Requests != 1) {
						t.Errorf("%+v of %+v", q, l)
					}
				}
				if median = at(late, 0.5); median < 0.002 {
					return
				}
			}
			t.Errorf("half of the calls are %v s late", median)
		})
	}
}

func TestSplit(t *testing.T) {
	for connections := 1; connections <= 13; connections++ {
		for n := 1; n <= connections; n++ {
			for _, requests := range []int64{int64(2 * connections), 100, 101, 12345} {
				whole := Spec{URL: "http://a", Connections: connections, Requests: requests, QPS: 100, WarmUp: 7}
				var sum Spec
				for _, p := range whole.Split(n) {
					sum.Connections += p.Connections
					sum.Requests += p.Requests
					sum.WarmUp += p.WarmUp
					sum.QPS += p.QPS
					if err := p.Validate(); err != nil {
						t.Errorf("%d of %d: %v", n, connections, err)
					}
				}
				if sum.Connections != connections || sum.Requests != requests || sum.WarmUp != 7 || sum.QPS < 99.999999 || sum.QPS > 100.000001 {
					t.Errorf("%d parts of %+v add up to %+v", n, whole, sum)
				}
			}
			for _, qps := range []float64{30, 100, 333.3} {
				whole := Spec{URL: "http://a", Connections: connections, Duration: 3 * time.Second, QPS: qps}
				var calls int64
				for _, p := range whole.Split(n) {
					calls += int64(p.QPS*p.Duration.Seconds()) / int64(p.Connections) * int64(p.Connections)
				}
				if want := int64(qps*3) / int64(connections) * int64(connections); calls != want {
					t.Errorf("%d workers with %d connections make %d calls at %v/s, one makes %d", n, connections, calls, qps, want)
				}
			}
		}
	}
}
