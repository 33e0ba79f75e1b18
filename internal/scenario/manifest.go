package scenario

import "fmt"

// ManifestObject is a Kubernetes object of a file, with the places of its fields.
type ManifestObject struct {
	Object map[string]any // whole numbers are int64
	places *places
	prefix string
}

// At is the place of a field such as spec.containers[0].image, or of the object when path is "".
func (m ManifestObject) At(path string) Pos {
	if m.prefix != "" {
		if path != "" && path[0] != '[' {
			path = "." + path
		}
		path = m.prefix + path
	}
	return m.places.at(path)
}

// Problem is a mistake in a field of the object.
func (m ManifestObject) Problem(path, what, hint string) Problem {
	return Problem{Pos: m.At(path), Path: path, What: what, Hint: hint}
}

// LoadManifests reads the objects of a file of plain Kubernetes manifests: see ParseManifests.
func LoadManifests(path string) ([]ManifestObject, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	return ParseManifests(path, data)
}

// ParseManifests reads all documents of a file of plain Kubernetes manifests; empty documents are passed over, the items
// of a List are returned one by one. Mistakes of YAML, and objects without apiVersion, kind or metadata.name, are
// returned all at once, as Problems.
func ParseManifests(name string, data []byte) ([]ManifestObject, error) {
	docs, problems := parseYAML(name, data)
	var objects []ManifestObject
	for _, doc := range docs {
		p := newPlaces(doc)
		if doc.field("kind") != nil && doc.field("kind").scalar == "List" && doc.field("items") != nil {
			for i, item := range doc.field("items").items {
				objects = append(objects, ManifestObject{places: p, prefix: fmt.Sprintf("items[%d]", i)})
				problems = append(problems, objects[len(objects)-1].fill(item)...)
			}
			continue
		}
		objects = append(objects, ManifestObject{places: p})
		problems = append(problems, objects[len(objects)-1].fill(doc)...)
	}
	if len(objects) == 0 && len(problems) == 0 {
		problems = append(problems, Problem{Pos: Pos{File: name}, What: "the file holds no objects"})
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return objects, nil
}

func (m *ManifestObject) fill(n *node) Problems {
	if n.kind == scalarNode && n.scalar == nil {
		return nil
	}
	if n.kind != mapNode {
		return Problems{m.Problem("", "is not a Kubernetes object", "write apiVersion, kind and metadata")}
	}
	m.Object, _ = n.value().(map[string]any)
	var problems Problems
	for _, path := range []string{"apiVersion", "kind"} {
		if n.field(path).str() == "" {
			problems = append(problems, m.Problem(path, "is missing", ""))
		}
	}
	if n.field("metadata").field("name").str() == "" {
		problems = append(problems, m.Problem("metadata.name", "is missing", "give the object a name, in quotes if it is a number"))
	}
	return problems
}
