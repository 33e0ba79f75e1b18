package load

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fortio.org/fortio/fhttp"
	"fortio.org/fortio/periodic"

	"squall/internal/record"
)

// benchServer is set in the process that serves the benchmark's target: in the same process the target's own garbage and
// goroutines would be part of what is measured.
const benchServer = "SQUALL_BENCH_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(benchServer) != "" {
		mux, addr := fhttp.HTTPServer("bench", "127.0.0.1:0")
		mux.HandleFunc("/", fhttp.EchoHandler)
		fmt.Println(addr)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark ends
		return
	}
	os.Exit(m.Run())
}

// serve starts the target and returns its URL.
func serve(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServer+"=1")
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		must(b, in.Close())
		must(b, cmd.Wait())
	})
	var addr string
	_, err = fmt.Fscanln(out, &addr)
	must(b, err)
	return "http://" + addr + "/"
}

// BenchmarkRun compares the calls per second of a load that keeps all records on disk with those of Fortio alone at the
// same settings. The runs alternate, and the ratio is the median of each pair's.
func BenchmarkRun(b *testing.B) {
	url := serve(b)
	run, err := record.Create(b.TempDir(), "bench")
	must(b, err)
	for _, connections := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			calls := int64(20000)
			var ours, theirs, ratios []float64
			for i := 0; b.Loop(); i++ {
				w, err := run.RequestWriter(fmt.Sprintf("%s-%d", strings.ReplaceAll(b.Name(), "/", "-"), i))
				must(b, err)
				l, err := Run(b.Context(), Spec{URL: url, Connections: connections, Requests: calls}, Output{Sink: w})
				must(b, err)
				must(b, w.Close())
				if l.Count != calls || l.Errors != nil {
					b.Fatalf("got %+v", l)
				}
				f := fortio(b, url, connections, calls)
				ours, theirs, ratios = append(ours, l.QPS), append(theirs, f), append(ratios, l.QPS/f)
			}
			b.ReportMetric(median(ours), "qps")
			b.ReportMetric(median(theirs), "fortio-qps")
			b.ReportMetric(median(ratios), "ratio")
		})
	}
}

func fortio(b testing.TB, url string, connections int, calls int64) float64 {
	b.Helper()
	o := &fhttp.HTTPRunnerOptions{RunnerOptions: periodic.RunnerOptions{
		QPS: -1, NumThreads: connections, Exactly: calls, Out: io.Discard, Stop: periodic.NewAborter(),
	}}
	o.URL = url
	res, err := fhttp.RunHTTPTest(o)
	must(b, err)
	if res.RetCodes[http.StatusOK] != calls {
		b.Fatalf("fortio got %v", res.RetCodes)
	}
	return res.ActualQPS
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
