package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"squall/internal/check"
	"squall/internal/record"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{formatCount(0), "0"}, {formatCount(999), "999"}, {formatCount(1000), "1,000"}, {formatCount(-1234567), "-1,234,567"},
		{formatCount(math.MinInt64), "-9,223,372,036,854,775,808"},
		{formatNumber(0), "0"}, {formatNumber(0.45333), "0.4533"}, {formatNumber(4812.49), "4812"}, {formatNumber(12345.6), "12,346"},
		{formatNumber(1e-9), "1e-09"}, {formatNumber(0.99999), "1"}, {formatNumber(math.NaN()), "NaN"}, {formatNumber(math.Inf(-1)), "-Inf"},
		{formatNumber(100), "100"}, {formatNumber(1e300), "1e+300"},
		{formatSeconds(0), "0 s"}, {formatSeconds(0.0000123), "12.3 µs"}, {formatSeconds(0.007), "7 ms"}, {formatSeconds(2.0034), "2.003 s"},
		{formatSeconds(300), "5 min"}, {formatSeconds(-0.25), "-250 ms"},
		{measureValue(check.Measure{}, ""), "—"},
		{measureValue(check.Measure{Value: ptr(0.051)}, "< 5%"), "5.1 %"},
		{measureValue(check.Measure{Value: ptr(0.051)}, "< 0.05"), "0.051"},
		{measureValue(check.Measure{Expr: "ratio(code == 200)", Value: ptr(0.4533333)}, "> 0.4"), "45.33 %"},
		{measureValue(check.Measure{Expr: `delta(access(a, code == 200).ratio)`, Value: ptr(0.25)}, "> 0.4"), "25 %"},
		{measureValue(check.Measure{Expr: "memory(httpbin)", Unit: "MiB", Value: ptr(64.25)}, "< 1GiB"), "64.25 MiB"},
		{measureValue(check.Measure{Expr: "rate()", Unit: "1/s", Value: ptr(99.999)}, "> 90"), "100/s"},
		{measureValue(check.Measure{Expr: "ratio(code == 200)", Value: ptr(39999.0 / 40000)}, ">= 1"), "99.997 %"},
		{measureValue(check.Measure{Expr: "ratio(code == 503)", Value: ptr(1e-9)}, "<= 0"), "0.0000001 %"},
		{measureValue(check.Measure{Expr: "delta(ratio(code == 503))", Value: ptr(-0.999999)}, "< 0"), "-99.9999 %"},
		{measureValue(check.Measure{Expr: "ratio(code == 200)", Value: ptr(math.Nextafter(1, 0))}, ">= 1"), "99.99999999999999 %"},
		{measureValue(check.Measure{Expr: "ratio(code == 200)", Value: ptr(1)}, ">= 1"), "100 %"},
		{measureValue(check.Measure{Expr: "ratio(code == 503)", Value: ptr(0)}, "<= 0"), "0 %"},
		{measureValue(check.Measure{Expr: "ratio(code == 503)", Value: ptr(0.0000123456)}, "> 0"), "0.0012 %"},
		{measureInterval(check.Measure{Expr: "ratio(code == 200)", Lo: ptr(0.99986), Hi: ptr(0.9999999)}, ""), "[99.99 %, 99.99999 %]"},
		{measureMethod(check.Measure{Lo: ptr(1), Hi: ptr(2), Confidence: 0.99999, Method: "wilson"}), "99.999 % wilson"},
		{measureInterval(check.Measure{Lo: ptr(1), Hi: ptr(1)}, ""), ""},
		{measureMethod(check.Measure{Lo: ptr(1), Hi: ptr(2), Confidence: 0.99, Method: "wilson"}), "99 % wilson"},
		{measureMethod(check.Measure{Lo: ptr(1), Hi: ptr(2), Confidence: 95, Method: "wilson"}), "95 % wilson"},
		{shellWord("a/b-c_1.yaml"), "a/b-c_1.yaml"}, {shellWord("it's; rm"), `'it'\''s; rm'`}, {shellWord(""), "''"},
		{clean("a\nb\x1b[0m\u202e ##[error]"), "a b\uFFFD[0m\uFFFD # #[error]"},
		{annotationProperty("a:b,c%\n"), "a%3Ab%2Cc%25 "},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// TestShareOfRows holds that a rare answer's row does not say none, nor that beside it all.
func TestShareOfRows(t *testing.T) {
	p := PhaseData{Count: 40000, Rows: []Row{{Code: 200, Count: 39999}, {Code: 503, Count: 1}}}
	var have []string
	for _, v := range rowViews(p, nil) {
		have = append(have, v.Share)
	}
	if want := []string{"99.997 %", "0.0025 %"}; !reflect.DeepEqual(have, want) {
		t.Errorf("shares %q, want %q", have, want)
	}
}

func TestParseLimit(t *testing.T) {
	inf := math.Inf(1)
	for in, want := range map[string]limits{
		"in [0.1, 0.95]":  {lo: 0.1, hi: 0.95},
		"in [1.9s, 2.1s]": {lo: 1.9, hi: 2.1},
		"< 250ms":         {lo: -inf, hi: 0.25},
		">= 5%":           {lo: 0.05, hi: inf},
		"== 3":            {lo: 3, hi: 3},
		"!= 0":            {lo: 0, hi: 0, not: true},
		"< 0.5GiB":        {lo: -inf, hi: 512},
		"<= 1.5m":         {lo: -inf, hi: 90},
	} {
		if got, ok := parseLimit(in); !ok || got != want {
			t.Errorf("%q: got %+v %v, want %+v", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "in", "in [1]", "< x", "== count(code == 503)", "< NaN", "<", "in [a, b]", "inf"} {
		if got, ok := parseLimit(in); ok {
			t.Errorf("%q: got %+v, want none", in, got)
		}
	}
}

func FuzzIntervalBar(f *testing.F) {
	f.Add("in [0.1, 0.95]", 0.4, 0.3, 0.5)
	f.Add("!= 0", 0.0, 0.0, 0.0)
	f.Add("< 250ms", 1e300, -1e300, math.Inf(1))
	f.Fuzz(func(t *testing.T, limit string, v, lo, hi float64) {
		b := newIntervalBar(check.Measure{Expr: "ratio(x)", Value: &v, Lo: &lo, Hi: &hi}, limit)
		if b == nil {
			return
		}
		for _, x := range append([]float64{b.Lo, b.Value, b.Lo + b.Width}, b.Edges...) {
			if math.IsNaN(x) || lo <= hi && (x < -0.01 || x > 100.01) {
				t.Errorf("limit %q, %v in [%v, %v]: position %v is not in the drawing", limit, v, lo, hi, x)
			}
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[2Jb\r\n\u2028\xff##[")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\x00\u2028\u202e") || strings.Contains(got, "##[") {
			t.Errorf("%q becomes %q", s, got)
		}
		if again := clean(got); again != got {
			t.Errorf("%q is not stable: %q", got, again)
		}
	})
}

func sampleAt(start, latency float64, code int) record.Sample {
	return record.Sample{Request: record.Request{Start: start, Latency: latency, Code: code}, Joined: true, Answered: "v1"}
}

// TestAggregateKeepsAll shows that no sample is lost, however many, long, odd or out of order they are.
func TestAggregateKeepsAll(t *testing.T) {
	for name, load := range map[string]*record.Load{"unknown load": nil, "known load": {Start: 10, Seconds: 1, Count: 5000}, "empty load": {}} {
		a := newAggregator("p", load)
		const n = 5000
		for i := range n {
			s := sampleAt(float64(i*i%n)*0.01+9.5, math.Pow(10, float64(i%12)-7), 200+i%300)
			s.Answered, s.Joined = fmt.Sprint("v", i), i%2 == 0
			a.add(s)
		}
		p := a.result()
		sum := func(cols [][]int64) (total int64) {
			for _, c := range cols {
				for _, k := range c {
					total += k
				}
			}
			return total
		}
		var bins [][]int64
		for _, b := range p.Latency.Bins {
			bins = append(bins, b.Counts)
		}
		rows, answers := int64(0), int64(0)
		for _, r := range p.Rows {
			rows += r.Count
		}
		for _, r := range p.Answers {
			answers += r.Count
		}
		got := []int64{p.Count, sum(p.Buckets), sum(bins), rows, answers, p.Latency.Count, 2 * p.Unjoined}
		if want := []int64{n, n, n, n, n, n, n}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: count, buckets, bins, rows, answers, latencies, twice unjoined are %v, want %v", name, got, want)
		}
		if len(p.Buckets) > maxBuckets || len(p.Answers) > maxAnswers || len(p.Rows) > maxRows || len(p.Latency.Bins) > binCount {
			t.Errorf("%s: %d buckets, %d answers, %d rows, %d bins are too many", name, len(p.Buckets), len(p.Answers), len(p.Rows), len(p.Latency.Bins))
		}
	}
}

func TestAggregatePercentiles(t *testing.T) {
	a := newAggregator("p", nil)
	for i := 1; i <= 1000; i++ {
		a.add(sampleAt(1, float64(i)*1e-5, 200))
	}
	l := a.result().Latency
	for _, c := range []struct{ got, want float64 }{{l.P50, 0.005}, {l.P90, 0.009}, {l.P99, 0.0099}, {l.Min, 1e-5}, {l.Max, 0.01}} {
		if math.Abs(c.got-c.want) > c.want*0.002 {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

func TestAggregateLastBucketHoldsTheEnd(t *testing.T) {
	a := newAggregator("p", &record.Load{Start: 2, Seconds: 1.2, Count: 72})
	a.add(sampleAt(2, 0.1, 200))
	a.add(sampleAt(3.2, 0.1, 200))
	if p := a.result(); len(p.Buckets) != 12 {
		t.Errorf("%d buckets, want 12", len(p.Buckets))
	}
}

// runFolder is a run's folder as the engine leaves it, with n requests in the baseline.
func runFolder(t *testing.T, n int) (*record.Run, check.Result) {
	t.Helper()
	run, err := record.Create(t.TempDir(), "r1")
	if err != nil {
		t.Fatal(err)
	}
	d := sample()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(run.WriteJSON(record.ManifestFile, d.Manifest))
	must(run.WriteJSON(record.SpecFile, d.Spec))
	must(run.WriteJSON(record.ObjectsFile, d.Objects))
	must(run.WriteProxies(d.Proxies))
	events, err := run.Events()
	must(err)
	for i := range 3 * maxEvents {
		must(events.Append(record.Event{At: float64(i), Kind: "apply", Text: fmt.Sprint("event ", i)}))
	}
	must(events.Close())
	must(run.WriteLoad("baseline", record.Load{Count: int64(n), Seconds: 1, QPS: float64(n)}))
	w, err := run.RequestWriter("baseline")
	must(err)
	for i := range n {
		w.Request(record.Request{Start: float64(i) / float64(n), Latency: 0.001, Code: 200, ID: fmt.Sprint("id", i)})
	}
	must(w.Close())
	d.Result.Phases = d.Result.Phases[:2]
	return run, d.Result
}

func TestCollect(t *testing.T) {
	run, result := runFolder(t, 100)
	d, err := Collect(run, result)
	if err != nil {
		t.Fatal(err)
	}
	if d.Manifest.RunID != sample().Manifest.RunID || len(d.Objects) != 2 || len(d.Proxies) != 2 || len(d.Spec.Phases) != 2 || d.Dir != run.Dir() {
		t.Errorf("the run's files were not read: %+v", d)
	}
	if len(d.Events) != maxEvents || d.EventsLeftOut != 2*maxEvents || d.Events[0].Text != "event 0" || d.Events[maxEvents-1].Text != "event 2999" {
		t.Errorf("%d events and %d left out, from %q to %q", len(d.Events), d.EventsLeftOut, d.Events[0].Text, d.Events[len(d.Events)-1].Text)
	}
	if p := d.Phases[0]; p.Count != 100 || p.Load == nil || p.Load.Count != 100 {
		t.Errorf("baseline: %d samples, load %+v", p.Count, p.Load)
	}
	if p := d.Phases[1]; p.Count != 0 || p.Load != nil {
		t.Errorf("breaker was never run but has %d samples, load %+v", p.Count, p.Load)
	}
	if missing := strings.Join(d.Missing, "\n"); !strings.Contains(missing, "the load of phase breaker was not written") {
		t.Errorf("what is missing is not said: %s", missing)
	}
}

func TestCollectDamaged(t *testing.T) {
	run, result := runFolder(t, 10)
	for _, name := range []string{"run.json", "objects.json", "events.ndjson", filepath.Join("phases", "baseline", "load.json")} {
		if err := os.WriteFile(run.Path(name), []byte("{\n{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Collect(run, result)
	for _, name := range []string{"run.json", "objects.json", "events.ndjson", "the load of phase baseline"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
		if !strings.Contains(strings.Join(d.Missing, "\n"), name) {
			t.Errorf("missing %q does not name %s", d.Missing, name)
		}
	}
	var b bytes.Buffer
	if err := errors.Join(HTML(&b, d), Text(&b, d, Options{}), JUnit(&b, d), Markdown(&b, d)); err != nil {
		t.Errorf("a damaged run cannot be rendered: %v", err)
	}
}

func TestObjectDiff(t *testing.T) {
	for name, c := range map[string]struct {
		before, after  string
		added, removed int
		lines          int
	}{
		"created": {"", "a\nb\n", 2, 0, 2},
		"deleted": {"a\nb\n", "", 0, 2, 2},
		"changed": {"a\nb\nc\n", "a\nx\nc", 1, 1, 4},
		"same":    {"a\nb", "a\nb\n", 0, 0, 2},
		"long":    {strings.Repeat("same\n", 500) + "old\n", strings.Repeat("same\n", 500) + "new\n", 1, 1, 502},
		"none":    {"", "", 0, 0, 0},
	} {
		v := newObjectView(record.Object{Before: c.before, After: c.after})
		if v.Added != c.added || v.Removed != c.removed || len(v.Lines) != c.lines {
			t.Errorf("%s: +%d -%d in %d lines, want +%d -%d in %d", name, v.Added, v.Removed, len(v.Lines), c.added, c.removed, c.lines)
		}
	}
}

func TestPlaceOf(t *testing.T) {
	d := sample()
	d.Result.Verdict = check.Fail
	d.Result.Phases[1].Outcomes[0].Verdict = check.Fail
	got := string(rendered(t, func(w io.Writer) error { return Annotations(w, d) }))
	want := "::error title=squall circuit,file=scenarios/circuit.yaml,line=16::FAIL ratio(code == 503) in [0.1, 0.95] @95%25: the whole interval [0.398, 0.51] is in [0.1, 0.95]\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func show(p Progress) {
	p.Phase("baseline")
	p.Load(Snapshot{Phase: "baseline", Elapsed: 100 * time.Millisecond, Done: 20, Asked: 50, QPS: 200, Codes: map[int]int64{200: 20}})
	p.Load(Snapshot{Phase: "baseline", Elapsed: 200 * time.Millisecond, Done: 50, Asked: 50, QPS: 250, Codes: map[int]int64{200: 50}})
	p.Phase("breaker\x1b[2J\n")
	p.Say("live on %d/%d proxies after %s", 2, 2, 7*time.Millisecond)
	for i := range 13 {
		p.Load(Snapshot{Phase: "breaker", Elapsed: time.Duration(i) * time.Second, Done: int64(i) * 1000, QPS: 1000, Codes: map[int]int64{503: int64(i) * 400, 200: int64(i) * 590}, Failed: int64(i) * 10})
	}
	p.Done()
	p.Say("after the end")
	p.Done()
}

func TestProgress(t *testing.T) {
	var tty, plain bytes.Buffer
	show(NewTTY(&tty, 40))
	show(NewPlain(&plain))
	quoted, err := json.Marshal(strings.Split(tty.String(), eraseLine))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "progress.tty.txt", append(bytes.ReplaceAll(quoted, []byte(`","`), []byte("\",\n\"")), '\n'))
	golden(t, "progress.plain.txt", plain.Bytes())
}
