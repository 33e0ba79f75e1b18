package main

import (
	"fmt"
	"os"

	"squall/internal/engine"
	"squall/internal/scenario"
	"squall/internal/traffic/elastic"
)

// recordsIn is the value of a flag that says where interface traffic is kept.
type recordsIn struct {
	text  string
	store *engine.RecordStore // nil: as the scenario says
}

// sqliteRecords stands for a file in each run's folder.
const sqliteRecords = "sqlite"

// String is the flag's value.
func (r *recordsIn) String() string { return r.text }

// Set reads the flag: sqlite, or a file that says where Elasticsearch is.
func (r *recordsIn) Set(s string) error {
	r.text, r.store = s, &engine.RecordStore{}
	if s == sqliteRecords {
		return nil
	}
	text, err := os.ReadFile(s)
	if err != nil {
		return fmt.Errorf("it is %s, or a file with ds_driver: Elastic and url: %w", sqliteRecords, err)
	}
	config, err := elastic.ParseConfig(text)
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	r.store.Elastic = &config
	return nil
}

// Type is what the help calls the value.
func (*recordsIn) Type() string { return "STORE" }

// recordsVia is the value of a flag that says how proxies tell of interface traffic; empty is as the scenario says.
type recordsVia string

// String is the flag's value.
func (v *recordsVia) String() string { return string(*v) }

// Set reads the flag.
func (v *recordsVia) Set(s string) error { return oneOf(v, s, scenario.ViaALS, scenario.ViaAccessLog) }

// Type is what the help calls the value.
func (*recordsVia) Type() string { return "WAY" }
