package engine

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"squall/internal/record"
	"squall/internal/scenario"
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
	if p == nil && c.Records == nil && c.RecordsVia == "" {
		return nil, nil
	}
	out := &collect.Options{Run: k.RunID, File: rec.Path(record.TrafficStore), ByLog: c.byLog(k)}
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
	if out.Elastic == nil {
		return out, nil
	}
	config := *out.Elastic
	if config.Spool == "" {
		config.Spool = rec.Path(spoolDir)
	}
	out.Elastic, out.Service = &config, k.inMesh(config.URLs[0])
	return out, nil
}

// byLog says whether records are made of the proxies' access logs.
func (c Config) byLog(k *Compiled) bool {
	if c.RecordsVia != "" {
		return c.RecordsVia == scenario.ViaAccessLog
	}
	return k.Plan.Records != nil && k.Plan.Records.ByLog
}

// logFields are what the proxies' access logs have to have for that.
func (c Config) logFields(k *Compiled) map[string]string {
	if !c.byLog(k) {
		return nil
	}
	return collect.LogFormat()
}

// spoolDir is the folder of a run's in which records wait while Elasticsearch does not take them.
const spoolDir = "records-spool"

// inMesh is the service of the scenario that a URL is of, nil when it is another's.
func (k *Compiled) inMesh(text string) *collect.Service {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	namespace := k.Scenario.Spec.Namespace
	name, rest, _ := strings.Cut(u.Hostname(), ".")
	if !slices.Contains(k.Plan.Spec.Services, name) || rest != "" && rest != namespace && !strings.HasPrefix(rest, namespace+".svc") {
		return nil
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = map[string]int{"https": 443}[u.Scheme]
	}
	return &collect.Service{Namespace: namespace, Name: name, Port: cmp.Or(port, 80)}
}
