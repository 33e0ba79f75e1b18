package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Listed is a file of a folder of scenarios. When it is broken, Err says why and Name is the file's name without its
// ending.
type Listed struct {
	Name       string
	Hypothesis string
	Labels     map[string]string
	File       string
	Err        error
}

// List reads all scenarios (*.yaml, *.yml) in and below a folder, by name. Fragments, Kubernetes manifests, hidden folders and
// folders named testdata are passed over; broken files are listed with their error.
func List(dir string) ([]Listed, error) {
	var list []Listed
	root := dir + string(os.PathSeparator) // so that a link to a folder is followed
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry != nil && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata")
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name:
			return fs.SkipDir
		case entry.IsDir() || name || !isYAML(path) || isNoScenario(path):
			return nil
		}
		list = append(list, listed(filepath.Clean(path)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing scenarios: %w", err)
	}
	slices.SortStableFunc(list, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Find loads the scenario of that name: metadata.name, the file's name without its ending, or a path to a file. When
// there is none, the error says which there are and which was likely meant; when there are two, it names both files.
func Find(dir, name string, opts Options) (*Scenario, error) {
	if isYAML(name) || strings.ContainsRune(name, os.PathSeparator) {
		return Load(name, opts)
	}
	list, err := List(dir)
	if err != nil {
		return nil, err
	}
	var files, names []string
	for _, l := range list {
		names = append(names, l.Name)
		if l.Name == name {
			files = append(files, l.File)
		}
	}
	if len(files) == 0 {
		for _, l := range list {
			if stem(l.File) == name {
				files = append(files, l.File)
			}
		}
	}
	switch len(files) {
	case 0:
		return nil, &NotFoundError{Dir: dir, Name: name, Names: names}
	case 1:
		return Load(files[0], opts)
	}
	return nil, fmt.Errorf("%d scenarios are named %q: %s; give the path of one", len(files), name, strings.Join(files, ", "))
}

// NotFoundError says that no scenario has the name.
type NotFoundError struct {
	Dir   string
	Name  string
	Names []string // those that exist
}

// Error names the nearest scenario and all that exist.
func (e *NotFoundError) Error() string {
	text := fmt.Sprintf("no scenario %q in %s", e.Name, e.Dir)
	if len(e.Names) == 0 {
		return text + ": there are none"
	}
	if n := Nearest(e.Name, e.Names); n != "" {
		text += fmt.Sprintf(": did you mean %q?", n)
	}
	return text + "\nthere is: " + strings.Join(e.Names, ", ")
}

func listed(path string) Listed {
	s, err := Load(path, Options{})
	if err != nil {
		return Listed{Name: stem(path), File: path, Err: err}
	}
	return Listed{Name: s.Metadata.Name, Hypothesis: s.Spec.Hypothesis, Labels: s.Metadata.Labels, File: path}
}

// FileKind is what a YAML file is.
type FileKind int

// The kinds of files. The zero value is what could be a scenario that is broken.
const (
	FileScenario FileKind = iota
	FileFragment
	FileManifest // of Kubernetes objects
)

// KindOf says what a YAML file is meant to be. What has neither kind nor apiVersion could be a scenario that is broken.
func KindOf(path string) FileKind {
	data, err := readFile(path)
	if err != nil {
		return FileScenario
	}
	docs, _ := parseYAML(path, data)
	out := FileScenario
	for _, n := range docs {
		kind, version := n.field("kind"), n.field("apiVersion")
		if kind == nil || version == nil || kind.scalar == "Scenario" {
			return FileScenario
		}
		text, ok := version.scalar.(string)
		switch {
		case kind.scalar == "Fragment":
			out = FileFragment
		case !ok || strings.HasPrefix(text, "squall/"):
			return FileScenario
		default:
			out = FileManifest
		}
	}
	return out
}

// isNoScenario says whether a file is meant to be something else, or is gone.
func isNoScenario(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist) || KindOf(path) != FileScenario
}

func isYAML(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".yaml" || ext == ".yml"
}

func stem(path string) string { return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)) }
