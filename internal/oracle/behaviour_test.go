package oracle

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	b, err := Parse(`
status: 201
failure: 0.25
latency: 20ms
paths:
- path: /productpage
  calls:
  - {host: reviews, port: 9080, path: /reviews/0, timeout: 2.5s, tries: 2, onError: 502, forwards: [end-user], signIn: {end-user: username}}
- {path: /api/*, undeclared: true}
`)
	if err != nil {
		t.Fatal(err)
	}
	page := b.at("/productpage?u=normal")
	if len(page.Calls) != 1 || page.Calls[0].OnError != 502 || time.Duration(page.Calls[0].Timeout) != 2500*time.Millisecond {
		t.Errorf("%+v", page)
	}
	if !b.at("/api/v1").Undeclared || b.at("/other").Status != 201 || b.at("/productpage/").Status != 201 {
		t.Errorf("%+v", b)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"call: []":                               "unknown field",
		"failure: 1.5":                           "a share from 0 to 1",
		"failure: .nan":                          "",
		"status: 99":                             "from 200 to 599",
		"latency: 3":                             "with a unit",
		"latency: -3s":                           "no time",
		"calls: [{host: a}]":                     "calls[0] needs a host and a port",
		"calls: [{host: a, port: 1, tries: 99}]": "from 1 to 10",
		"calls: [{host: a, port: 1, onError: maybe}]":     "ok, fail or a status",
		"paths: [{path: x, failure: 2}]":                  "begins with /",
		"status: 200\nstatus: 201":                        "already",
		"paths: [{path: /, calls: [{host: a, port: 0}]}]": "paths[0].calls[0] needs",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("calls: [{host: reviews, port: 9080, onError: fail}]")
	f.Add("failure: .inf")
	f.Add("paths: [{path: /a*, latency: 1s}]")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := Parse(text)
		if err != nil {
			return
		}
		for _, path := range []string{"/", "/a", ""} {
			a := b.at(path)
			if !(a.Failure >= 0 && a.Failure <= 1) || a.Latency < 0 || len(a.Calls) > maxCalls {
				t.Errorf("%q: %+v", text, a)
			}
		}
	})
}
