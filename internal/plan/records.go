package plan

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"squall/internal/scenario"
	"squall/internal/traffic"
)

// Records is how interface traffic is recorded.
type Records struct {
	Interfaces []traffic.Template
	// Store is the text of the file that says which Elasticsearch keeps them, and File its path; empty is SQLite.
	Store []byte
	File  string
	// ByLog says that they are made of the proxies' text access logs, when a load is over.
	ByLog bool
}

// records compiles what the scenario says of them, or what they are by default when a check reads them.
func (b *builder) records() {
	s := b.scenario.Spec.Records
	if s == nil {
		if b.plan.ReadsRecords {
			b.plan.Records = &Records{}
		}
		return
	}
	out := &Records{ByLog: s.Via == scenario.ViaAccessLog}
	for i, text := range s.Interfaces {
		t, err := traffic.ParseTemplate(text)
		if err != nil {
			b.errs = append(b.errs, b.scenario.Problem(fmt.Sprintf("spec.records.interfaces[%d]", i), err.Error(), ""))
		}
		out.Interfaces = append(out.Interfaces, t)
	}
	for _, service := range slices.Sorted(maps.Keys(s.OpenAPI)) {
		path := "spec.records.openapi." + service
		document, err := os.ReadFile(b.near(path, s.OpenAPI[service]))
		var list []traffic.Template
		if err == nil {
			list, err = traffic.OpenAPI(traffic.Key{Namespace: b.scenario.Spec.Namespace, Service: service}, document)
		}
		if err != nil {
			b.errs = append(b.errs, b.scenario.Problem(path, err.Error(), "paths are relative to the file that names them"))
		}
		out.Interfaces = append(out.Interfaces, list...)
	}
	if _, err := traffic.NewInterfaces(traffic.Caps{}, out.Interfaces...); err != nil && len(b.errs) == 0 {
		b.errs = append(b.errs, b.scenario.Problem("spec.records", err.Error(), ""))
	}
	if s.Store != "" {
		var err error
		out.File = b.near("spec.records.store", s.Store)
		if out.Store, err = os.ReadFile(out.File); err != nil {
			b.errs = append(b.errs, b.scenario.Problem("spec.records.store", err.Error(), "paths are relative to the file that names them"))
		}
	}
	b.plan.Records = out
}
