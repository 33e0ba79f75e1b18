package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// manifest is an object of a fixture with the places of its fields.
type manifest struct {
	object *unstructured.Unstructured
	source scenario.ManifestObject
}

// order is in which order kinds are applied: what others need comes first.
func order(kind string) int {
	for i, kinds := range [][]string{
		{"Namespace"}, {"ServiceAccount", "ConfigMap", "Secret"}, {"Service"}, {"Deployment", "StatefulSet", "DaemonSet", "Job"},
	} {
		if slices.Contains(kinds, kind) {
			return i
		}
	}
	return 2 // Istio's and all others: before the workloads, so that they start under their rules
}

// loadFixtures reads the objects of the scenario's fixtures, in the order in which they are applied.
func loadFixtures(s *scenario.Scenario, dir string) ([]manifest, error) {
	var out []manifest
	var errs []error
	for i, name := range s.Spec.Fixtures {
		files, err := fixtureFiles(s, dir, name)
		if err != nil {
			hint := ""
			if errors.Is(err, fs.ErrNotExist) {
				hint = scenario.DidYouMean(name, folders(dir))
			}
			errs = append(errs, s.Problem(fmt.Sprintf("spec.fixtures[%d]", i), err.Error(), hint))
			continue
		}
		for _, f := range files {
			objects, err := scenario.LoadManifests(f)
			if err != nil {
				errs = append(errs, err)
			}
			for _, o := range objects {
				out = append(out, newManifest(o, s.Spec.Namespace))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b manifest) int { return order(a.object.GetKind()) - order(b.object.GetKind()) })
	return out, errors.Join(append(errs, duplicates(out))...)
}

func newManifest(o scenario.ManifestObject, namespace string) manifest {
	u := &unstructured.Unstructured{Object: o.Object}
	if u.GetNamespace() == "" && !scenario.ClusterScoped(u.GetKind()) {
		u.SetNamespace(namespace)
	}
	return manifest{object: u, source: o}
}

func duplicates(list []manifest) error {
	var errs []error
	seen := map[id]scenario.Pos{}
	for _, m := range list {
		key := idOf(m.object)
		if first, ok := seen[key]; ok {
			errs = append(errs, m.source.Problem("metadata.name", fmt.Sprintf("%s is already defined at %s", name(m.object), first), ""))
			continue
		}
		seen[key] = m.source.At("metadata.name")
	}
	return errors.Join(errs...)
}

// noFixtureError is a fixture that is not there. It is fs.ErrNotExist.
type noFixtureError struct{ name, folder string }

func (e *noFixtureError) Error() string {
	return fmt.Sprintf("no fixture is called %s: there is no %s", e.name, e.folder)
}
func (e *noFixtureError) Unwrap() error { return fs.ErrNotExist }

// fixtureFiles lists the manifest files of a fixture: those of a folder below dir, or a path relative to the scenario's file.
func fixtureFiles(s *scenario.Scenario, dir, name string) ([]string, error) {
	folder := filepath.Join(dir, name)
	if strings.ContainsAny(name, "/\\") || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		folder = name
		if !filepath.IsAbs(name) {
			folder = filepath.Join(filepath.Dir(s.File), name)
		}
	}
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &noFixtureError{name: name, folder: folder}
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{folder}, nil
	}
	var files []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no manifests (*.yaml)", folder)
	}
	slices.Sort(files)
	return files, nil
}

func folders(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}
