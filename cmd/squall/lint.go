package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/lint"
	"squall/internal/scenario"
)

func (a *app) lintCommand() *cobra.Command {
	f := &planFlags{}
	s := selection{}
	var to format
	c := &cobra.Command{
		Use:   "lint [SCENARIO|FILE|FOLDER…]",
		Short: "Find rules that Istio takes and that do not do what they seem to",
		Long: "Look at scenarios, by name, file or folder, and at plain Kubernetes and Istio manifests. All manifests are looked at\n" +
			"together. Each finding has an id, which docs/lint.md describes. The exit code is 0 when there is none, 1 when\n" +
			"there are some, and 2 when something cannot be read. The annotation squall.dev/lint-ignore keeps findings back.",
		Example:           "  squall lint --all\n  squall lint circuit manifests/ -o json",
		ValidArgsFunction: a.completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			if picked := s.all || len(s.labels) > 0; picked == (len(args) > 0) {
				return invalid(errors.New("name scenarios, files or folders, or choose with --all or --label"))
			}
			r := &linted{app: a, flags: f}
			if err := r.look(args, s); err != nil {
				return invalid(err)
			}
			return r.print(to)
		},
	}
	a.addSelection(c, &s)
	a.addPlanFlags(c, f)
	output(c, &to)
	return c
}

// linted is what was found.
type linted struct {
	*app
	flags     *planFlags
	files     []string // of manifests
	found     []lint.Placed
	ignored   int
	scenarios int
	objects   int
	services  bool // whether the manifests have services
}

func (r *linted) look(args []string, s selection) error {
	if len(args) == 0 {
		files, err := r.filesOf(r.app.scenarios, s.labels)
		if err != nil {
			return err
		}
		args = files
	}
	var errs []error
	for _, arg := range args {
		errs = append(errs, r.one(arg))
	}
	return errors.Join(append(errs, r.manifests())...)
}

// one looks at a scenario, and keeps manifests for later: a file, or a folder of either.
func (r *linted) one(arg string) error {
	info, err := os.Stat(arg)
	if err != nil || info.IsDir() && !r.isFolder(arg) {
		return r.scenario(arg) // by its name
	}
	files := []string{arg}
	if info.IsDir() {
		if files, err = yamlFiles(arg); err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s holds no YAML files", arg)
		}
	}
	var errs []error
	for _, f := range files {
		switch kind := scenario.KindOf(f); kind {
		case scenario.FileScenario:
			errs = append(errs, r.scenario(f))
		case scenario.FileFragment: // looked at with the scenarios that include it
		default:
			r.files = append(r.files, f)
		}
	}
	return errors.Join(errs...)
}

func yamlFiles(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir+string(os.PathSeparator), func(path string, d fs.DirEntry, err error) error { // a link to a folder is followed
		if ext := filepath.Ext(path); err == nil && !d.IsDir() && (ext == ".yaml" || ext == ".yml") {
			out = append(out, filepath.Clean(path))
		}
		return err
	})
	return out, err
}

func (r *linted) scenario(name string) error {
	k, err := r.compile(name, r.flags)
	if err != nil {
		return err
	}
	r.scenarios++
	r.found = append(r.found, k.Plan.Findings...)
	r.ignored += k.Plan.Ignored
	return nil
}

// manifests looks at the objects of all files together.
func (r *linted) manifests() error {
	var objects []*unstructured.Unstructured
	sources := map[*unstructured.Unstructured]scenario.ManifestObject{}
	var errs []error
	for _, f := range r.files {
		list, err := scenario.LoadManifests(f)
		errs = append(errs, err)
		for _, m := range list {
			u := &unstructured.Unstructured{Object: m.Object}
			if u.GetNamespace() == "" {
				u.SetNamespace("default")
			}
			r.services = r.services || u.GetKind() == "Service"
			objects = append(objects, u)
			sources[u] = m
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.objects += len(objects)
	found, ignored := lint.Objects(objects)
	r.ignored += ignored
	for _, f := range found {
		r.found = append(r.found, lint.Placed{Pos: sources[f.Ref.Object].At(f.Ref.Path), Finding: f})
	}
	return nil
}

// lintOutput is the findings as JSON.
type lintOutput struct {
	Findings  []lintFinding `json:"findings"`
	Ignored   int           `json:"ignored"`
	Scenarios int           `json:"scenarios"`
	Objects   int           `json:"objects"`
}

type lintFinding struct {
	ID     string `json:"id"`
	Place  string `json:"place"` // file:line:column
	Object string `json:"object,omitempty"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
}

func (r *linted) print(to format) error {
	slices.SortStableFunc(r.found, func(a, b lint.Placed) int { return strings.Compare(a.Pos.File, b.Pos.File) })
	if to == asJSON {
		out := lintOutput{Findings: []lintFinding{}, Ignored: r.ignored, Scenarios: r.scenarios, Objects: r.objects}
		for _, f := range r.found {
			j := lintFinding{ID: f.ID, Place: f.Pos.String(), What: f.What, Hint: f.Hint}
			if f.Ref.Object != nil {
				j.Object = f.Ref.String()
			}
			out.Findings = append(out.Findings, j)
		}
		if err := r.printJSON(out); err != nil {
			return environment(err)
		}
		return r.end()
	}
	for _, f := range r.found {
		fmt.Fprintln(r.stdout, f)
	}
	if r.objects > 0 && !r.services {
		fmt.Fprintln(r.stderr, "squall: there is no Service among the manifests, so that hosts, subsets and pods were not checked")
	}
	fmt.Fprintf(r.stderr, "%d scenarios and %d objects of manifests: %d findings, %d ignored\n", r.scenarios, r.objects, len(r.found), r.ignored)
	return r.end()
}

func (r *linted) end() error {
	if len(r.found) > 0 {
		return ended(exitFail)
	}
	return nil
}

// warn prints the findings of a compiled scenario.
func (a *app) warn(found []lint.Placed) {
	for _, f := range found {
		fmt.Fprintf(a.stderr, "lint: %s\n", f)
	}
}
