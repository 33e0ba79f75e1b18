package main

import (
	"encoding/json"
	"testing"
)

// TestLint looks at scenarios and manifests, and finds what the tutorial's own cleanup breaks: the route to a subset that it renames.
func TestLint(t *testing.T) {
	atRoot(t)
	code, out, errs := squall(t, "lint", "circuit", "weights")
	want(t, 0, []string{"2 scenarios and 0 objects of manifests: 0 findings, 0 ignored"}, code, out, errs)
	tutorial := []string{"fixtures/bookinfo", "fixtures/bookinfo-destination-rules", "scenarios/bookinfo/manifests/all-v1.yaml"}
	code, out, errs = squall(t, append([]string{"lint"}, tutorial...)...)
	want(t, 0, []string{"0 findings"}, code, out, errs)
	broken := []string{"lint", "fixtures/bookinfo", "scenarios/bookinfo/manifests/all-v1.yaml", "scenarios/gateway/manifests/productpage-cleaned.yaml"}
	code, out, errs = squall(t, broken...)
	want(t, 1, []string{
		`scenarios/bookinfo/manifests/all-v1.yaml:11:7: missing-subset: no DestinationRule has the subset "v1" of productpage`,
	}, code, out, errs)
	code, out, errs = squall(t, append(broken, "-o", "json")...)
	var got lintOutput
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || len(got.Findings) != 4 || got.Findings[0].ID != "missing-subset" {
		t.Errorf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	code, out, errs = squall(t, "lint", "scenarios/gateway/manifests/productpage-cleaned.yaml")
	want(t, 0, []string{"there is no Service among the manifests"}, code, out, errs)
	code, out, errs = squall(t, "lint", write(t, t.TempDir()+"/a.yaml", "kind: [\n"))
	want(t, 2, nil, code, out, errs)
	code, out, errs = squall(t, "lint")
	want(t, 2, []string{"name scenarios"}, code, out, errs)
}
