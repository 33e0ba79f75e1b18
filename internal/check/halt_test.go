package check

import (
	"errors"
	"strings"
	"testing"

	"squall/internal/record"
)

func TestCompileHaltErrors(t *testing.T) {
	for stmt, want := range map[string]string{
		"ratio(code >= 500) > 0.99":               "for how long",
		"ratio(code >= 500) > 0.99 for":           "is not a duration",
		"ratio(code >= 500) > 0.99 for 5":         "is not a duration",
		"ratio(code >= 500) > 0.99 for -5s":       "must be more than 0",
		"ratio(code >= 500) > 0.99 @95% for 5s":   "has no confidence",
		"ratio(code >= 500) > 0.99 for 5s @95%":   "is not a duration",
		"count(code >= 500) > 5 for 5s":           "use ratio(…) or rate(…)",
		"overflow(httpbin) > 5 for 5s":            "is not known while the load runs",
		"delta(p50) > 5s for 5s":                  "is not known while the load runs",
		`ratio(flag("UO")) > 0.5 for 5s`:          "flags is not known while the load runs",
		`ratio(version == "v1") > 0.5 for 5s`:     "version is not known while the load runs",
		"ratio(cod >= 500) > 0.99 for 5s":         "did you mean code or pod?",
		"access(httpbin).count > 0 for 5s":        "is not known while the load runs",
		"ratio(code >= 500) > 0.99 for 5s for 5s": "is not a duration",
	} {
		_, err := CompileHalt(stmt, services())
		var syn *SyntaxError
		if !errors.As(err, &syn) || !strings.Contains(err.Error(), want) {
			t.Errorf("CompileHalt(%s) = %v, want …%s…", stmt, err, want)
		}
	}
}

// A percentage before "for" is no modulus.
func TestCompileHaltPercent(t *testing.T) {
	for _, stmt := range []string{"ratio(code >= 500) > 50% for 1s", "ratio(code >= 500) > 50% for 1m"} {
		if _, err := CompileHalt(stmt, services()); err != nil {
			t.Errorf("CompileHalt(%s) = %v", stmt, err)
		}
	}
}

func TestHalt(t *testing.T) {
	// calls adds one request each 0.1 s from one time to another.
	type calls struct {
		from, to float64
		code     int
		latency  float64
	}
	tests := []struct {
		name  string
		stmt  string
		calls []calls
		now   float64
		want  bool
	}{
		{"bad for the whole window", "ratio(code >= 500) > 0.99 for 5s", []calls{{0, 6, 503, 0}}, 5.5, true},
		{"bad for less than the window", "ratio(code >= 500) > 0.99 for 5s", []calls{{0, 6, 503, 0}}, 4.9, false},
		{"good before, bad since", "ratio(code >= 500) > 0.99 for 5s", []calls{{0, 10, 200, 0}, {10, 16, 503, 0}}, 15.5, true},
		{"good before, bad for too short", "ratio(code >= 500) > 0.99 for 5s", []calls{{0, 10, 200, 0}, {10, 16, 503, 0}}, 14, false},
		{"recovered in between", "ratio(code >= 500) > 0.99 for 5s", []calls{{0, 2, 503, 0}, {2, 2.5, 200, 0}, {2.5, 6, 503, 0}}, 5.5, false},
		{"no data", "ratio(code >= 500) > 0.99 for 5s", nil, 60, false},
		{"data too old", "ratio(code >= 500) > 0.99 for 5s", []calls{{0, 6, 503, 0}}, 60, false},
		{"one half only", "ratio(code >= 500) > 0.99 for 5s", []calls{{0, 0.1, 200, 0}, {3.1, 5, 503, 0}}, 5.5, false},
		{"connection errors", `ratio(error != "") > 0.5 for 1s`, []calls{{0, 2, 0, 0}}, 1.5, true},
		{"slow", "p50 > 1s for 2s", []calls{{0, 5, 200, 1.5}}, 5, true},
		{"not slow", "p50 > 1s for 2s", []calls{{0, 5, 200, 0.5}}, 5, false},
		{"rate", "rate() < 20 for 2s", []calls{{0, 5, 200, 0}}, 5, true},
		{"both", "ratio(code >= 500) > 0.5 && p99 > 1s for 2s", []calls{{0, 5, 503, 0.5}}, 5, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := CompileHalt(tt.stmt, services())
			if err != nil {
				t.Fatal(err)
			}
			w := h.Watch()
			for _, c := range tt.calls {
				for i := 0; c.from+float64(i)/10 < c.to-1e-9; i++ {
					r := record.Request{Start: c.from + float64(i)/10, Latency: c.latency, Code: c.code}
					if c.code == 0 {
						r.Error = "refused"
					}
					w.Add(r)
				}
			}
			got, reason := w.Check(tt.now)
			if got != tt.want || got != (reason != "") {
				t.Errorf("Check(%v) = %v, %q; want %v", tt.now, got, reason, tt.want)
			}
		})
	}
}

func TestHaltForgets(t *testing.T) {
	h, err := CompileHalt("p99(code == 200) > 10s for 1s", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := h.Watch()
	for i := range 10000 {
		at := float64(i) / 100
		w.Add(record.Request{Start: at, Code: 200})
		if tripped, _ := w.Check(at); tripped {
			t.Fatal("tripped")
		}
	}
	if len(w.slices) > haltSlices+2 || len(w.pending) != 0 {
		t.Errorf("holds %d parts and %d requests", len(w.slices), len(w.pending))
	}
}
