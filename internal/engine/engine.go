// Package engine is Squall in one call: a scenario is compiled, run on a mesh, judged from its record and reported. The command
// line and the suites are thin layers over it.
package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/elasticsearch"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/record"
	"squall/internal/report"
	"squall/internal/run"
	"squall/internal/scenario"
	"squall/internal/toolchain"
	"squall/internal/traffic/page"
)

// Config is what all runs of a process share.
type Config struct {
	Fixtures string   // folder of the fixtures
	Reports  string   // folder in which each run gets its own
	Env      string   // local, kind or cluster
	Cluster  *Cluster // of every Env but local
	Images   map[string]string
	Tools    toolchain.Tools
	// Generator is what makes the calls of loads; "" is Squall itself.
	Generator plan.Generator
	// Records keeps the interface traffic of all runs, whatever their scenarios say; nil is as they say.
	Records *RecordStore
	// RecordsVia is how the proxies tell it, one of scenario's, and has it kept; "" is as the scenarios say.
	RecordsVia string
	// Page is that of one run: it shows its interface traffic while it goes on. Nil is none.
	Page *page.Running
}

// errLocalFortio is the reason why the local mesh has no other load generator.
var errLocalFortio = errors.New("the load generator fortio is for the environments kind and cluster: on the local mesh Squall's own process " +
	"calls through the proxy, and needs no image: leave --load-generator out")

// Compiled is a scenario with its plan, and the id of the one run that it is for.
type Compiled struct {
	Scenario *scenario.Scenario
	Plan     *plan.Plan
	RunID    string
	images   map[string]string
	env      string
}

// Compile compiles a scenario; nothing is started, and no tools are needed. The error has every mistake with its place.
func (c Config) Compile(s *scenario.Scenario) (*Compiled, error) { return c.compile(s, newTag()) }

// newTag tells a run's folder and marks from those of all others.
func newTag() string {
	var id [3]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

func (c Config) compile(s *scenario.Scenario, tag string) (*Compiled, error) {
	images := maps.Clone(s.Spec.Images)
	if images == nil {
		images = map[string]string{}
	}
	maps.Copy(images, c.Images)
	if isLocal(c.Env) && c.Generator == plan.Fortio {
		return nil, errLocalFortio
	}
	var honours func([]*unstructured.Unstructured) []plan.Unhonoured
	if isLocal(c.Env) {
		var err error
		if honours, err = honour(images); err != nil {
			return nil, err
		}
	}
	p, err := plan.Build(s, plan.Options{
		FixturesDir: c.Fixtures, Marker: "squall-" + tag, LoadImage: local.LoadImage, Honour: honours, Cluster: !isLocal(c.Env),
		Generator: c.Generator,
	})
	if err != nil {
		return nil, err
	}
	runID := fmt.Sprintf("%s-%s-%s", s.Metadata.Name, time.Now().UTC().Format("20060102-150405"), tag)
	return &Compiled{Scenario: s, Plan: p, RunID: runID, images: images, env: c.Env}, nil
}

// honour reports what the local mesh cannot honour.
func honour(images map[string]string) (func([]*unstructured.Unstructured) []plan.Unhonoured, error) {
	facts, err := local.ReadFacts(images)
	if err != nil {
		return nil, err
	}
	return func(objects []*unstructured.Unstructured) []plan.Unhonoured {
		var out []plan.Unhonoured
		plain := make([]map[string]any, len(objects))
		for i, o := range objects {
			plain[i] = o.Object
		}
		for _, p := range local.Check(plain, facts) {
			out = append(out, plan.Unhonoured{Index: p.Index, Path: p.Path, What: p.What, Hint: p.Hint})
		}
		return out
	}, nil
}

// Available says what this machine would have to bring for the plan and does not, joined: *toolchain.Error values, and secrets that are
// not where the scenario says.
func (k *Compiled) Available() error {
	var errs []error
	for _, at := range k.Plan.Flow {
		_, err := at.Options()
		errs = append(errs, err)
	}
	if !isLocal(k.env) {
		return errors.Join(errs...) // nodes pull what they do not have
	}
	objects := k.objects()
	return errors.Join(append(errs, local.Available(objects, k.images), k.lacks(objects))...)
}

// lacks says what the machine lacks for a node of Elasticsearch, if one is in the plan.
func (k *Compiled) lacks(objects []map[string]any) error {
	if !local.RunsElasticsearch(objects, k.images) {
		return nil
	}
	root, err := toolchain.FindRoot(".")
	if err != nil {
		return err
	}
	return elasticsearch.Missing(root)
}

// Complete adds to the tools what the plan needs and most plans do not: Elasticsearch, which is fetched where it is not there yet.
func (k *Compiled) Complete(ctx context.Context, tools *toolchain.Tools, progress func(toolchain.Update)) error {
	if !isLocal(k.env) || !local.RunsElasticsearch(k.objects(), k.images) {
		return nil
	}
	root, err := toolchain.FindRoot(".")
	if err != nil {
		return err
	}
	tools.Elasticsearch, err = elasticsearch.Program(ctx, root, progress)
	return err
}

// objects are those of the plan, as decoded from their manifests.
func (k *Compiled) objects() []map[string]any {
	var out []map[string]any
	k.each(func(u *unstructured.Unstructured, _ string) { out = append(out, u.Object) })
	return out
}

// Outcome is a judged run.
type Outcome struct {
	Record *record.Run
	Result check.Result
	Data   report.Data
}

// Run runs a compiled scenario on a mesh of its own, judges it and writes its report. The outcome is there whenever the
// record could be judged, also beside an error: the errors are those of writing. Nothing is started, and no record made, on a
// machine that lacks a program of the scenario's.
func (c Config) Run(ctx context.Context, k *Compiled, progress run.Progress) (*Outcome, error) {
	if err := k.Available(); err != nil {
		return nil, err
	}
	if err := k.Complete(ctx, &c.Tools, func(u toolchain.Update) { progress.Say("%s", u) }); err != nil {
		return nil, err
	}
	rec, err := record.Create(c.Reports, k.RunID)
	if err != nil {
		return nil, err
	}
	env, dir, err := c.environment(k, rec)
	if err != nil {
		return nil, err
	}
	var where *mesh.Target
	if !isLocal(c.Env) {
		where = &c.Cluster.Target
	}
	records, err := c.records(k, rec)
	if err != nil {
		return nil, err
	}
	runErr := run.Run(ctx, run.Options{
		Cluster: where, Records: records, Page: c.Page,
		Plan: k.Plan, Env: env, Record: rec, Progress: progress, MeshDir: dir,
		Manifest: record.Manifest{
			RunID: k.RunID, Scenario: k.Scenario.Metadata.Name, File: k.Scenario.File, Env: c.Env, Seed: k.Scenario.Spec.Seed,
			Versions: Versions(),
		},
	})
	out, err := Judge(rec)
	if out == nil {
		return nil, errors.Join(runErr, err)
	}
	return out, errors.Join(runErr, err, report.WriteFiles(rec, out.Data))
}

// Judge judges a saved run from its files alone. The outcome is there whenever the record could be judged, also beside an error,
// which then is about what a report shows besides the result.
func Judge(rec *record.Run) (*Outcome, error) {
	result, err := check.JudgeRun(rec)
	if err != nil {
		return nil, err
	}
	data, err := report.Collect(rec, result)
	return &Outcome{Record: rec, Result: result, Data: data}, err
}

// Versions are those of what Squall itself is made of.
func Versions() map[string]string {
	v := map[string]string{"go": runtime.Version(), "squall": "devel", "os": runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v["squall"] = info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == "fortio.org/fortio" {
			v["fortio library"] = d.Version
		}
	}
	return v
}
