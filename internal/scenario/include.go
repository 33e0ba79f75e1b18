package scenario

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const maxIncludes = 64

// loader reads a document and what it includes.
type loader struct {
	files    []string // all that were read, the document first
	problems Problems
}

// document reads one file's document, with its includes laid below it. It returns nil when there is nothing to go on
// with. The kind is Scenario or Fragment; above are the files that include this one.
func (l *loader) document(file string, data []byte, kind string, above []string) *node {
	l.files = append(l.files, file)
	docs, problems := parseYAML(file, data)
	l.problems = append(l.problems, problems...)
	if !l.isOneDocument(file, docs, len(problems) > 0) || !l.hasHeader(docs[0], kind) {
		return nil
	}
	root := docs[0]
	if kind == "Fragment" {
		l.knownFields(root)
	}
	return l.withIncludes(root, file, append(above, clean(file)))
}

func (l *loader) isOneDocument(file string, docs []*node, broken bool) bool {
	switch {
	case len(docs) == 0 && !broken:
		l.report(Pos{File: file}, "", "the file is empty", "")
	case len(docs) > 1:
		l.report(docs[1].pos, "", "the file holds several documents", "put each scenario in a file of its own")
	case len(docs) == 1 && docs[0].kind != mapNode:
		l.report(docs[0].pos, "", "the document is not a mapping", "begin with apiVersion: "+APIVersion)
	default:
		return len(docs) == 1
	}
	return false
}

// hasHeader tells a document of another format from a scenario with mistakes in it.
func (l *loader) hasHeader(root *node, kind string) bool {
	version, actual := root.field("apiVersion"), root.field("kind")
	switch {
	case version == nil:
		l.report(root.pos, "apiVersion", "is missing", "write "+APIVersion)
	case version.scalar != APIVersion:
		l.report(version.pos, "apiVersion", fmt.Sprintf("%v is not known", version.value()), "write "+APIVersion)
	case actual == nil:
		l.report(root.pos, "kind", "is missing", "write "+kind)
	case actual.scalar == "Fragment" && kind == "Scenario":
		l.report(actual.pos, "kind", "a Fragment cannot be run alone", "include it in a Scenario")
	case actual.scalar != kind:
		l.report(actual.pos, "kind", fmt.Sprintf("%v is not what is needed here", actual.value()), "write "+kind)
	default:
		return true
	}
	return false
}

func (l *loader) knownFields(root *node) {
	known := []string{"apiVersion", "kind", "metadata", "spec"}
	for _, f := range root.fields {
		if !slices.Contains(known, f.name) {
			l.report(f.value.key, f.name, "unknown field", DidYouMean(f.name, known))
		}
	}
}

func (l *loader) withIncludes(root *node, file string, stack []string) *node {
	include := root.field("spec").field("include")
	if include == nil || include.kind != listNode {
		return root
	}
	var below *node
	for i, item := range include.items {
		path, ok := item.scalar.(string)
		if !ok {
			continue // the schema reports it
		}
		if spec := l.include(item.pos, fmt.Sprintf("spec.include[%d]", i), relative(file, path), stack); spec != nil {
			below = merge(below, spec)
		}
	}
	if below == nil {
		return root
	}
	return merge(&node{kind: mapNode, fields: []field{{"spec", below}}}, root)
}

// include returns the spec of a fragment without its own list of includes.
func (l *loader) include(pos Pos, path, file string, stack []string) *node {
	if at := slices.Index(stack, clean(file)); at >= 0 {
		chain := append(slices.Clone(stack[at:]), clean(file))
		l.report(pos, path, "the includes go round in a circle: "+strings.Join(chain, " → "), "")
		return nil
	}
	if len(l.files) > maxIncludes {
		l.report(pos, path, fmt.Sprintf("more than %d files are included", maxIncludes), "")
		return nil
	}
	data, err := readFile(file)
	if err != nil {
		l.report(pos, path, err.Error(), "paths are relative to the file that includes")
		return nil
	}
	spec := l.document(file, data, "Fragment", stack).field("spec")
	if spec != nil {
		spec.drop([]string{"include"})
	}
	return spec
}

func (l *loader) report(pos Pos, path, what, hint string) {
	l.problems = append(l.problems, Problem{Pos: pos, Path: path, What: what, Hint: hint})
}

// readFile reads at most a little more than the limit, so that a huge file costs nothing and is still noticed.
func readFile(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a folder, but a file is needed", path)
	}
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

func relative(file, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(file), path)
}

func clean(file string) string { return filepath.ToSlash(filepath.Clean(file)) }
