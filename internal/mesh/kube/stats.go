package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"squall/internal/mesh"
)

// keepsStats is an error when the pod's proxy was started with a stats matcher that drops what Squall reads: by a counter of requests
// that is not there, an access log of nothing would be whole.
func (m *Mesh) keepsStats(ctx context.Context, p *pod) error {
	m.mu.Lock()
	kept := p.kept
	m.mu.Unlock()
	if kept {
		return nil
	}
	body, err := m.ask(ctx, p.key, adminPort, http.MethodGet, "/config_dump")
	if err == nil {
		err = inclusion(body)
	}
	if err != nil {
		return fmt.Errorf("stats matcher of the proxy of %s: %w", p.key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.kept = true
	return nil
}

// inclusion looks for what Squall reads in the bootstrap of a config dump. A proxy without a matcher keeps all.
func inclusion(dump []byte) error {
	var d struct {
		Configs []struct {
			Bootstrap struct {
				Stats json.RawMessage `json:"stats_config"`
			} `json:"bootstrap"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(dump, &d); err != nil {
		return err
	}
	var stats []byte
	for _, c := range d.Configs {
		stats = append(stats, c.Bootstrap.Stats...)
	}
	if !bytes.Contains(stats, []byte(`"stats_matcher"`)) {
		return nil
	}
	for _, re := range mesh.StatsInclusion() {
		quoted, err := json.Marshal(re)
		if err != nil {
			return err
		}
		if !bytes.Contains(stats, quoted) {
			return fmt.Errorf("it drops stats that Squall reads, such as %s: give the pods the annotation %s with proxyStatsMatcher.inclusionRegexps: %q",
				re, configAnnotation, mesh.StatsInclusion())
		}
	}
	return nil
}
