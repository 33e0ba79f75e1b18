package fortiorest

import (
	"time"

	"squall/internal/load"
	"squall/internal/record"
)

// Load is what a load came to by Fortio's own result, with its times counted from base.
func (k Clock) Load(s load.Spec, r Result, base time.Time) record.Load {
	l := record.Load{
		URL: s.URL, Protocol: string(load.HTTP1), Connections: s.Connections, AskedQPS: s.QPS, Asked: Requests(s), Seed: s.Seed,
		Start: k.local(r.Start).Sub(base).Seconds(), Seconds: r.Took.Seconds(), Count: r.Count,
		Generator: &record.Generator{Name: "fortio", Version: r.Version, Codes: r.Codes, Mean: r.Mean, Max: r.Max},
	}
	if l.Seconds > 0 {
		l.QPS = float64(l.Count) / l.Seconds
	}
	return l
}
