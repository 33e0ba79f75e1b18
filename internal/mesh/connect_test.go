package mesh

import "testing"

func TestImageTag(t *testing.T) {
	for ref, want := range map[string]string{
		"docker.io/istio/pilot:1.31.1": "1.31.1", "pilot": "", "localhost:5000/istio/pilot:1.31.1": "1.31.1", "localhost:5000/istio/pilot": "",
		"istio/pilot:1.31.1@sha256:00": "1.31.1", "istio/pilot@sha256:00": "",
	} {
		if got := ImageTag(ref); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
}
