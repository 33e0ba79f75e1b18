package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

func removeFile(r *Run, name string) error { return os.Remove(r.Path(name)) }

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{`{"t":0.5,"lat":1e-9,"code":200,"conn":0,"bytes":611,"id":"a","ver":"v1","found":"a=1 b=0","err":"eof"}`, `{}`, `{"t":1,"lat":2,"code":"3"}`,
		`{"t":1,"lat":2,"code":3,"code":null}`, `{"T":1,"lat":2,"code":3}`, `{"t":01,"lat":2.,"code":-3}`, `{"t":1,"lat":2,"code":3,"x":{"t":4}} `, `{"t":`, `[1]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err1 := parseRequest(line, newParser())
		want, err2 := slowRequest(line)
		if (err1 == nil) != (err2 == nil) || got != want {
			t.Errorf("%q\ngives %+v, %v\nwant  %+v, %v", line, got, err1, want, err2)
		}
	})
}

func FuzzParseAccess(f *testing.F) {
	raw, err := os.ReadFile("testdata/access.ndjson")
	must(f, err)
	for line := range strings.Lines(string(raw)) {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"code":200,"start":null,"route":null,"Flags":"UO","attempts":1.0}`))
	f.Add([]byte(`{"code":200,"code":null}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err1 := parseAccess(line, newParser())
		want, err2 := slowAccess(line)
		if (err1 == nil) != (err2 == nil) || !got.Start.Equal(want.Start) {
			t.Fatalf("%q\ngives %+v, %v\nwant  %+v, %v", line, got, err1, want, err2)
		}
		got.Start = want.Start // another zone's pointer
		if got != want {
			t.Errorf("%q\ngives %+v\nwant  %+v", line, got, want)
		}
	})
}

func FuzzEncodeRequest(f *testing.F) {
	f.Add(1.5, 0.25, 200, int64(3), "id", "v\u2028<", "a=1", "eof")
	f.Fuzz(func(t *testing.T, start, latency float64, code int, size int64, id, version, found, kind string) {
		q := Request{Start: start, Latency: latency, Code: code, Bytes: size, ID: id, Version: version, Found: found, Error: kind}
		if !finite(start) || !finite(latency) {
			return
		}
		want, err := json.Marshal(q)
		must(t, err)
		if got := appendRequest(nil, &q); !bytes.Equal(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func typical(r *rand.Rand) Request {
	return Request{
		Start: float64(r.IntN(1e11)) / 1e9, Latency: float64(r.IntN(1e7)) / 1e9, Code: 200, Conn: r.IntN(8), Bytes: 611,
		ID: uuid(r.IntN(1e9), '4'), Version: "v1",
	}
}

func BenchmarkRequestWriter(b *testing.B) {
	w, err := newRun(b).RequestWriter("p")
	must(b, err)
	r := rand.New(rand.NewPCG(1, 2))
	qs := make([]Request, 1024)
	for i := range qs {
		qs[i] = typical(r)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Request(qs[i&1023])
	}
	must(b, w.Close())
}

func BenchmarkParseRequest(b *testing.B) {
	q := typical(rand.New(rand.NewPCG(1, 2)))
	line, p := appendRequest(nil, &q), newParser()
	b.ReportAllocs()
	for b.Loop() {
		_, err := parseRequest(line, p)
		must(b, err)
	}
}

func BenchmarkParseAccess(b *testing.B) {
	raw, err := os.ReadFile("testdata/access.ndjson")
	must(b, err)
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	p := newParser()
	b.ReportAllocs()
	for b.Loop() {
		_, err := parseAccess(line, p)
		must(b, err)
	}
}

// BenchmarkSamples joins a million requests in each iteration; ns/sample is what one costs.
func BenchmarkSamples(b *testing.B) {
	const n = 1 << 20
	r := newRun(b)
	must(b, r.WriteProxies([]Proxy{{Pod: "squall-load", Client: true}}))
	w, err1 := r.RequestWriter("p")
	a, err2 := r.AccessWriter("p", "squall-load")
	must(b, errors.Join(err1, err2))
	raw, err := os.ReadFile("testdata/access.ndjson")
	must(b, err)
	line, _, _ := strings.Cut(string(raw), "\n")
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		q := typical(rnd)
		q.ID = uuid(i, '4')
		w.Request(q)
		must(b, a.Line([]byte(strings.Replace(line, "1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11", q.ID, 1))))
	}
	must(b, errors.Join(w.Close(), a.Close()))
	b.ReportAllocs()
	for b.Loop() {
		joined := 0
		for s, err := range r.Samples("p") {
			must(b, err)
			if s.Joined {
				joined++
			}
		}
		if joined != n {
			b.Fatalf("joined %d of %d", joined, n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/sample")
}
