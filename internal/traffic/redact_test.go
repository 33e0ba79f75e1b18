package traffic

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func redactor(t testing.TB, rules Rules) *Redactor {
	t.Helper()
	r, err := NewRedactor(rules)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"

func TestRedactPath(t *testing.T) {
	r := redactor(t, Rules{KeepQuery: []string{"page", "sort*", "access_token"}})
	for raw, want := range map[string]string{
		"/get":                                    "/get",
		"/get?user=alice&x":                       "/get?user=REDACTED&x",
		"/get?a=":                                 "/get?a=",
		"/get?page=2&Sort_by=name#top":            "/get?page=2&Sort_by=name",
		"/get?access_token=abc":                   "/get?access_token=REDACTED",
		"/a;jsessionid=123/b":                     "/a;jsessionid=REDACTED/b",
		"/reset/" + jwt + "/x":                    "/reset/REDACTED/x",
		"/t/aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE":     "/t/REDACTED",
		"/o/1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11": "/o/1c9d6cc3-93b3-9a5c-a0ab-7c9f0a7e3d11",
		"http://u:p@h/get?q=1":                    "/get?q=REDACTED",
		"http://u:p@h":                            "/",
		"/x?" + jwt:                               "/x?REDACTED",
		"/\x1b[31m\u202e":                         "/\uFFFD[31m\uFFFD",
		"*":                                       "*",
		"":                                        "",
	} {
		if got := r.Path(raw); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
	if got := r.Path("/a?" + strings.Repeat("k=v&", 1000)); strings.Count(got, "k=") != maxKeys {
		t.Errorf("%q", got)
	}
	if _, err := NewRedactor(Rules{KeepQuery: []string{"[a"}}); err == nil {
		t.Error("a broken pattern was taken")
	}
}

func TestRedactHeaders(t *testing.T) {
	r := redactor(t, Rules{KeepHeaders: []string{"*"}})
	got := r.Headers(map[string]string{"Authorization": "Basic abcdefgh", "cookie": "a=b", "X-Api-Key": "k", "X-Team": "blue", "x-note": "Bearer abcdefghi"})
	for name, want := range map[string]string{"authorization": Redacted, "cookie": Redacted, "x-api-key": Redacted, "x-team": "blue", "x-note": Redacted} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if got := redactor(t, Rules{}).Headers(map[string]string{"x-team": "blue", "accept": "*/*"}); got["x-team"] != Redacted || got["accept"] != "*/*" {
		t.Errorf("by default: %v", got)
	}
	if got := r.Text("curl/8 token=abcdefgh (x)"); got != "curl/8 REDACTED (x)" {
		t.Errorf("%q", got)
	}
}

// Whatever a client sends, no value of a query and no JWT is kept.
func FuzzRedactPath(f *testing.F) {
	f.Add("/a/b", "key", "SECRETVALUE")
	f.Add("/"+jwt, "a;b", "SECRETVALUE")
	f.Add("http://a/\xff", "%3d", "SECRETVALUE")
	r := redactor(f, Rules{})
	f.Fuzz(func(t *testing.T, path, key, value string) {
		const mark = "SECRETVALUE"
		got := r.Path(path + "?" + key + "=" + mark + value)
		if !utf8.ValidString(got) || len(got) > 3*maxPath+8 {
			t.Errorf("%q", got)
		}
		if !strings.ContainsAny(path, "?#") && !strings.ContainsAny(key, "#&") && !strings.Contains(path+key, mark) &&
			!strings.Contains(value, mark) && strings.Contains(got, mark) {
			t.Errorf("%q %q %q gives %q", path, key, value, got)
		}
	})
}

func TestPrepare(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	p := NewPreparer(redactor(t, Rules{}), names(t, Caps{}), func() time.Time { return now })
	entry := func() Record {
		return Record{Time: now.Add(-time.Hour), Reporter: Source, Protocol: "HTTP/1.1", Method: "GET", Path: "/o/17?password=x", Authority: "u:p@h:80",
			UserAgent: "Bearer abcdefghijk", Code: 200, Duration: time.Millisecond, RequestID: "r"}
	}
	a, b := entry(), entry()
	p.Prepare(&a, "pod-1", "s")
	p.Prepare(&b, "pod-1", "s")
	if a.ID != b.ID || a.Valid() != nil || a.Path != "/o/17?password=REDACTED" || a.Interface != "/o/{id}" || a.Authority != "h:80" || a.UserAgent != Redacted {
		t.Errorf("%+v\n%+v", a, b)
	}
	if id, err := ParseID(a.ID.String()); err != nil || id != a.ID || NewID(a.Time.UnixNano(), a.ID.Hash()) != id {
		t.Errorf("%v, %v", id, err)
	}
	for name, change := range map[string]func(*Record) string{
		"another proxy":    func(*Record) string { return "pod-2" },
		"another time":     func(r *Record) string { r.Time = r.Time.Add(1); return "pod-1" },
		"another duration": func(r *Record) string { r.Duration++; return "pod-1" },
		"another port":     func(r *Record) string { r.Source.Address = "1.2.3.4:5"; return "pod-1" },
		"another request":  func(r *Record) string { r.RequestID = "q"; return "pod-1" },
	} {
		c := entry()
		p.Prepare(&c, change(&c), "s")
		if c.ID == a.ID {
			t.Errorf("%s: the same id", name)
		}
	}
	for _, off := range []time.Time{{}, time.Unix(0, 0), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), now.Add(3 * time.Hour), now.Add(maxAhead + 1)} {
		c := entry()
		c.Time, c.Method = off, "BREW"
		p.Prepare(&c, "pod-1", "s")
		if !c.Time.Equal(now) || c.Method != OtherMethod || c.Valid() != nil {
			t.Errorf("of %v: %+v", off, c)
		}
	}
	c := entry()
	c.Time = now.Add(maxAhead) // clocks are never quite the same
	if p.Prepare(&c, "pod-1", "s"); !c.Time.Equal(now.Add(maxAhead)) {
		t.Errorf("%+v", c)
	}
}

// What no request can have sent, and no time that one can have taken, is kept within bounds: it must not spoil the sums of all others.
func TestPrepareAbsurd(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	p := NewPreparer(redactor(t, Rules{}), names(t, Caps{}), func() time.Time { return now })
	r := Record{Time: now, Reporter: Source, Protocol: "TCP", BytesReceived: math.MaxInt64, BytesSent: -7, Duration: math.MaxInt64, Upstream: MaxDuration + 1, FirstByte: MaxDuration}
	p.Prepare(&r, "pod-1", "s")
	if r.BytesReceived != MaxBytes || r.BytesSent != 0 || r.Duration != Unknown || r.Upstream != Unknown || r.FirstByte != MaxDuration {
		t.Errorf("%+v", r)
	}
}

func TestFailed(t *testing.T) {
	for _, c := range []struct {
		r    Record
		want bool
	}{
		{Record{Protocol: "HTTP/2", Code: 200}, false}, {Record{Protocol: "HTTP/2", Code: 404}, false}, {Record{Protocol: "HTTP/2", Code: 500}, true},
		{Record{Protocol: "HTTP/1.1"}, true}, {Record{Protocol: "TCP"}, false}, {Record{Protocol: "TCP", Flags: "UF"}, true},
	} {
		if got := c.r.Failed(); got != c.want {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}
