package engine

import (
	"fmt"

	"squall/internal/record"
	"squall/internal/traffic/collect"
	"squall/internal/traffic/elastic"
)

// RecordStore says where interface traffic is kept.
type RecordStore struct {
	// Elastic is an Elasticsearch; nil is a file of SQLite in each run's folder.
	Elastic *elastic.Config
}

// records is where a run's interface traffic goes, nil when none is collected.
func (c Config) records(k *Compiled, rec *record.Run) (*collect.Options, error) {
	p := k.Plan.Records
	if p == nil && c.Records == nil {
		return nil, nil
	}
	out := &collect.Options{Run: k.RunID, File: rec.Path(record.TrafficStore)}
	if p != nil {
		out.Interfaces = p.Interfaces
		if p.File != "" {
			config, err := elastic.ParseConfig(p.Store)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.File, err)
			}
			out.Elastic = &config
		}
	}
	if c.Records != nil {
		out.Elastic = c.Records.Elastic
	}
	return out, nil
}
