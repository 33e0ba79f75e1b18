package record

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

func newRun(t testing.TB) *Run {
	t.Helper()
	r, err := Create(t.TempDir(), "run-1")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// collect reads everything, values and errors apart.
func collect[T any](seq iter.Seq2[T, error]) (values []T, errs []error) {
	for v, err := range seq {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		values = append(values, v)
	}
	return values, errs
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestCreateRefusesWhatIsThereAndWhatIsNoName(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(dir, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, "a"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second run of one id: %v, want fs.ErrExist", err)
	}
	for _, id := range []string{"", ".", "..", "a/b", "/a", `a\b`, "a\x00"} {
		if _, err := Create(dir, id); err == nil {
			t.Errorf("run id %q is taken", id)
		}
	}
}

func TestPhaseAndPodCannotLeaveTheFolder(t *testing.T) {
	r := newRun(t)
	for _, bad := range []string{"", "..", "../x", "a/b"} {
		_, err1 := r.RequestWriter(bad)
		_, err2 := r.AccessWriter("p", bad)
		_, err3 := r.Stats(bad, "pod", Before)
		_, err4 := r.Load(bad)
		_, errs5 := collect(r.Requests(bad))
		_, errs6 := collect(r.Access("p", bad))
		_, errs7 := collect(r.Samples(bad))
		if err1 == nil || err2 == nil || err3 == nil || err4 == nil || errs5 == nil || errs6 == nil || errs7 == nil {
			t.Errorf("name %q is taken", bad)
		}
	}
}

func TestOpenNeedsAManifest(t *testing.T) {
	r := newRun(t)
	if _, err := Open(r.Dir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), ManifestFile) {
		t.Errorf("a folder without manifest: %v", err)
	}
	want := Manifest{RunID: "run-1", Scenario: "circuit", Start: time.Unix(1, 0).UTC()}
	must(t, r.WriteJSON(ManifestFile, want))
	o, err := Open(r.Dir())
	must(t, err)
	got, err := o.Manifest()
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAbsentIsNotEmpty(t *testing.T) {
	r := newRun(t)
	_, err1 := r.Stats("p", "pod", Before)
	_, err2 := r.Load("p")
	_, err3 := r.Proxies()
	_, errs4 := collect(r.Requests("p"))
	_, errs5 := collect(r.Access("p", "pod"))
	_, errs6 := collect(r.Samples("p"))
	for i, err := range []error{err1, err2, err3, errors.Join(errs4...), errors.Join(errs5...), errors.Join(errs6...)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("reader %d: %v, want fs.ErrNotExist", i+1, err)
		}
	}
	writeFile(t, r.Path("phases/p/stats/pod.before.json"), "null")
	if _, err := r.Stats("p", "pod", Before); err == nil {
		t.Error("null stats are read as stats")
	}
}

func TestSmallFilesComeBack(t *testing.T) {
	r := newRun(t)
	stats := Stats{"cluster.a.upstream_rq_total": 3}
	load := Load{URL: "http://x", Count: 3, Complete: "ok"}
	proxies := []Proxy{{Pod: "a", IP: "127.1.0.1", Client: true, Labels: map[string]string{"version": "v1"}}}
	must(t, r.WriteStats("p", "pod", After, stats))
	must(t, r.WriteLoad("p", load))
	must(t, r.WriteProxies(proxies))
	gotStats, err1 := r.Stats("p", "pod", After)
	gotLoad, err2 := r.Load("p")
	gotProxies, err3 := r.Proxies()
	must(t, errors.Join(err1, err2, err3))
	if !reflect.DeepEqual(gotStats, stats) || !reflect.DeepEqual(gotLoad, load) || !reflect.DeepEqual(gotProxies, proxies) {
		t.Errorf("got %v, %v, %v", gotStats, gotLoad, gotProxies)
	}
	if err := r.WriteStats("p", "pod", "later", stats); err == nil {
		t.Error("stats of another end than before and after are taken")
	}
}

func TestWriteJSONIsWholeOrUnchanged(t *testing.T) {
	r := newRun(t)
	must(t, r.WriteJSON("x.json", 1))
	if err := r.WriteJSON("x.json", func() {}); err == nil {
		t.Fatal("a function is written as JSON")
	}
	var n int
	must(t, r.ReadJSON("x.json", &n))
	entries, err := os.ReadDir(r.Dir())
	must(t, err)
	if n != 1 || len(entries) != 4 { // phases, proxies, logs, x.json
		t.Errorf("x is %d, the folder holds %v", n, entries)
	}
}

// randomRequest makes any request, with the shapes that a load makes more often.
func randomRequest(r *rand.Rand) Request {
	text := func(alphabet string) string {
		runes, b := []rune(alphabet), []rune{}
		for range r.IntN(40) {
			b = append(b, runes[r.IntN(len(runes))])
		}
		return string(b)
	}
	q := Request{
		Start: r.Float64() * 100, Latency: float64(r.IntN(1e9)) / 1e9, Code: r.IntN(600), Conn: r.IntN(100),
		Bytes: r.Int64(), ID: text("0123456789abcdef-"), Version: text("v123."),
	}
	if r.IntN(4) == 0 {
		q.Start, q.Latency = r.NormFloat64()*1e-12, r.ExpFloat64()*1e30
		q.Error, q.Version = text("rst<>&\"\\/\n\t\u2028é漢😀"), text("\x00\x7f \"\\v")
	}
	return q
}

func TestRequestEncodingIsEncodingJSONs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		q := randomRequest(r)
		want, err := json.Marshal(q)
		must(t, err)
		got := appendRequest(nil, &q)
		if string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		back, err := parseRequest(got, newParser())
		must(t, err)
		if back != q {
			t.Fatalf("%s\ngives %+v\nwant  %+v", got, back, q)
		}
	}
}

func TestRequestsComeBackFromConcurrentWriters(t *testing.T) {
	r := newRun(t)
	w, err := r.RequestWriter("p")
	must(t, err)
	const writers, each = 8, 3000
	var wg sync.WaitGroup
	for c := range writers {
		wg.Go(func() {
			for i := range each {
				w.Request(Request{Start: float64(i), Conn: c, Code: 200, ID: "id"})
			}
		})
	}
	wg.Wait()
	must(t, w.Close())
	if w.Count() != writers*each {
		t.Errorf("count is %d", w.Count())
	}
	next := [writers]float64{}
	for q, err := range r.Requests("p") {
		must(t, err)
		if q.Start != next[q.Conn] {
			t.Fatalf("connection %d: request %v, want %v", q.Conn, q.Start, next[q.Conn])
		}
		next[q.Conn]++
	}
	for c, n := range next {
		if n != each {
			t.Errorf("connection %d has %v requests", c, n)
		}
	}
}

func TestRequestsGolden(t *testing.T) {
	r := newRun(t)
	w, err := r.RequestWriter("p")
	must(t, err)
	for _, q := range []Request{
		{Start: 0.5, Latency: 0.000812345, Code: 200, Bytes: 611, ID: "1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11", Version: "v1"},
		{Start: 0.75, Latency: 1.5e-7, Code: 503, Conn: 2},
		{Start: 12, Latency: 10, Conn: 1, Error: "timeout"},
		{Start: 13, Code: 200, Version: `a "quoted" <v>`},
	} {
		w.Request(q)
	}
	must(t, w.Close())
	golden(t, "requests.ndjson", r.Path(requestsFile("p")))
}

func golden(t *testing.T, name, gotPath string) {
	t.Helper()
	got, err := os.ReadFile(gotPath)
	must(t, err)
	path := filepath.Join("testdata", name)
	if *update {
		writeFile(t, path, string(got))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if string(got) != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestAccessGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/access.ndjson")
	must(t, err)
	r := newRun(t)
	w, err := r.AccessWriter("p", "pod")
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		must(t, w.Line([]byte(line)))
	}
	if err := w.Line([]byte("{}\n{}")); err == nil {
		t.Error("two lines are taken as one entry")
	}
	must(t, w.Close())
	entries, errs := collect(r.Access("p", "pod"))
	must(t, errors.Join(errs...))
	must(t, r.WriteJSON("got.json", entries))
	golden(t, "access.golden.json", r.Path("got.json"))
}

func TestWrongLines(t *testing.T) {
	good := `{"t":1,"lat":2,"code":200}`
	cases := []struct {
		name, text string
		values     int
		errs       []string // in order
		truncated  bool
	}{
		{"good", good + "\n" + good + "\n", 2, nil, false},
		{"no end of line", good + "\n" + good, 2, nil, false},
		{"cut off", good + "\n" + good[:12], 1, []string{":2: the last line is cut off"}, true},
		{"cut off in a number", good + "\n" + `{"t":1,"lat":2,"code":20`, 1, []string{":2: the last line is cut off"}, true},
		{"garbage between", good + "\nrubbish\n" + good + "\n", 2, []string{":2: invalid character"}, false},
		{"blank lines", "\n" + good + "\n\n\n", 1, nil, false},
		{"no code", `{"t":1,"lat":2}` + "\n", 0, []string{":1: a request without t, lat or code"}, false},
		{"null code", `{"t":1,"lat":2,"code":null}` + "\n", 0, []string{":1: a request without t, lat or code"}, false},
		{"code as text", `{"t":1,"lat":2,"code":"200"}` + "\n", 0, []string{":1: json: cannot unmarshal string"}, false},
		{"too long", good + "\n" + strings.Repeat("x", maxLine+1) + "\n" + good, 1, []string{":2: a line of more than 1 MiB"}, false},
		{"empty", "", 0, nil, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRun(t)
			writeFile(t, r.Path(requestsFile("p")), c.text)
			for _, values := range []func() (int, []error){
				func() (int, []error) { v, errs := collect(r.Requests("p")); return len(v), errs },
				func() (int, []error) { v, errs := collect(r.Samples("p")); return len(v), errs },
			} {
				n, errs := values()
				if n != c.values || len(errs) != len(c.errs) {
					t.Fatalf("got %d values and %v, want %d and %q", n, errs, c.values, c.errs)
				}
				for i, err := range errs {
					var line *LineError
					if !errors.As(err, &line) || !strings.Contains(err.Error(), c.errs[i]) {
						t.Errorf("got %v, want %q", err, c.errs[i])
					}
				}
				if got := errors.Is(errors.Join(errs...), ErrTruncated); got != c.truncated {
					t.Errorf("truncated is %v", got)
				}
			}
		})
	}
}

func TestAppendingAfterAKilledWriter(t *testing.T) {
	r := newRun(t)
	writeFile(t, r.Path(EventsFile), `{"at":1,"kind":"mesh","text":"up"}`+"\n"+`{"at":2,"ki`)
	log, err := r.Events()
	must(t, err)
	must(t, log.Append(Event{At: 3, Kind: "rollback", Text: "done"}))
	events, errs := collect(r.ReadEvents()) // before Close: each event is handed over at once
	if len(events) != 2 || events[1].Text != "done" || len(errs) != 1 {
		t.Errorf("got %v and %v", events, errs)
	}
	must(t, log.Close())
	if err := log.Append(Event{}); err == nil {
		t.Error("a closed log takes events")
	}
}

func TestLogSync(t *testing.T) {
	r := newRun(t)
	log, err := r.Log(JournalFile)
	must(t, err)
	must(t, log.Append(map[string]int{"a": 1}))
	must(t, log.Sync())
	b, err := os.ReadFile(r.Path(JournalFile))
	must(t, err)
	if string(b) != "{\"a\":1}\n" {
		t.Errorf("got %q", b)
	}
	if err := log.Append(func() {}); err == nil {
		t.Error("a function is logged")
	}
	must(t, log.Close())
	must(t, log.Close())
}

// Each wrong value of a metric is caught where it is written.
func TestRequestOfNoTime(t *testing.T) {
	r := newRun(t)
	w, err := r.RequestWriter("p")
	must(t, err)
	zero := 0.0
	w.Request(Request{Latency: 1 / zero})
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "requests.ndjson") {
		t.Errorf("an infinite latency: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	r := newRun(t)
	path := r.Path(requestsFile("p"))
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.Symlink("/dev/full", path))
	w, err := r.RequestWriter("p")
	must(t, err)
	const n = 5000 // more than the buffer holds
	for range n {
		w.Request(Request{Code: 200, ID: "1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11"})
	}
	err = w.Close()
	if err == nil {
		t.Fatal("a full disk is no error")
	}
	for _, part := range []string{path, "no space left on device", "(5000 lines are not in it)"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if w.Count() != 0 {
		t.Errorf("%d lines count as written", w.Count())
	}
}
