package scenario

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// node is a value of a YAML document with its place. Aliases and merge keys are already resolved.
type node struct {
	pos    Pos // of the value
	key    Pos // of the key, or of the value in a list; the document's own is its pos
	scalar any // string, json.Number, bool or nil, when neither fields nor items
	fields []field
	items  []*node
	kind   nodeKind
	// text is the column of the scalar's first character when it stands on one line exactly as it is, else 0.
	text     int
	variable bool // the scalar came from a variable as a whole
}

type nodeKind int

const (
	scalarNode nodeKind = iota
	mapNode
	listNode
)

type field struct {
	name  string
	value *node
}

func (n *node) field(name string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

func (n *node) names() []string {
	names := make([]string, len(n.fields))
	for i, f := range n.fields {
		names[i] = f.name
	}
	return names
}

// child finds what a JSON pointer's token names.
func (n *node) child(token string) *node {
	if n == nil {
		return nil
	}
	if n.kind == listNode {
		i, err := strconv.Atoi(token)
		if err != nil || i < 0 || i >= len(n.items) {
			return nil
		}
		return n.items[i]
	}
	return n.field(token)
}

func (n *node) at(pointer []string) *node {
	for _, token := range pointer {
		n = n.child(token)
	}
	return n
}

// drop removes what the pointer names; in a list it leaves a null, so that the places of the others stay.
func (n *node) drop(pointer []string) {
	if len(pointer) == 0 {
		return
	}
	parent, last := n.at(pointer[:len(pointer)-1]), pointer[len(pointer)-1]
	child := parent.child(last)
	if child == nil {
		return
	}
	if parent.kind == listNode {
		*child = node{pos: child.pos, key: child.key}
		return
	}
	kept := parent.fields[:0:0]
	for _, f := range parent.fields {
		if f.name != last {
			kept = append(kept, f)
		}
	}
	parent.fields = kept
}

// walk visits every node, parents first, with its path.
func (n *node) walk(path string, visit func(path string, n *node)) {
	visit(path, n)
	for _, f := range n.fields {
		f.value.walk(join(path, f.name), visit)
	}
	for i, item := range n.items {
		item.walk(fmt.Sprintf("%s[%d]", path, i), visit)
	}
}

// value is the node as encoding/json would have decoded it, with int64 for whole numbers.
func (n *node) value() any {
	switch n.kind {
	case mapNode:
		m := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			m[f.name] = f.value.value()
		}
		return m
	case listNode:
		l := make([]any, len(n.items))
		for i, item := range n.items {
			l[i] = item.value()
		}
		return l
	}
	if number, ok := n.scalar.(json.Number); ok {
		return plainNumber(number)
	}
	return n.scalar
}

func plainNumber(number json.Number) any {
	if i, err := number.Int64(); err == nil {
		return i
	}
	f, err := number.Float64()
	if err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int64(f)
	}
	return f
}

// merge lays over on base: maps are merged field by field, anything else is replaced.
func merge(base, over *node) *node {
	if base == nil || base.kind != mapNode || over.kind != mapNode {
		return over
	}
	merged := *over
	merged.fields = nil
	for _, f := range base.fields {
		if o := over.field(f.name); o != nil {
			f.value = merge(f.value, o)
		}
		merged.fields = append(merged.fields, f)
	}
	for _, f := range over.fields {
		if base.field(f.name) == nil {
			merged.fields = append(merged.fields, f)
		}
	}
	return &merged
}

// places maps paths to positions, of values and of keys.
type places struct {
	root   Pos
	values map[string]Pos
	texts  map[string]int // see node.text
}

func newPlaces(root *node) *places {
	p := &places{root: root.pos, values: map[string]Pos{}, texts: map[string]int{}}
	root.walk("", func(path string, n *node) {
		p.values[path] = n.pos
		if n.kind != scalarNode && n.key.Line != 0 {
			p.values[path] = n.key
		}
		p.texts[path] = n.text
	})
	return p
}

// at is the place of the path or of the nearest thing around it.
func (p *places) at(path string) Pos {
	if p == nil {
		return Pos{}
	}
	for path != "" {
		if pos, ok := p.values[path]; ok {
			return pos
		}
		path = parentPath(path)
	}
	return p.root
}

func parentPath(path string) string {
	if strings.HasSuffix(path, `"]`) {
		return path[:max(0, strings.LastIndex(path, `["`))]
	}
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func join(path, name string) string {
	switch {
	case !isPlainName(name):
		return path + "[" + strconv.Quote(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// Field appends a field's name to a path as problems and Scenario.At spell it: names with other signs than letters,
// digits, - and _ are quoted in brackets.
func Field(path, name string) string { return join(path, name) }

func isPlainName(name string) bool {
	isSign := func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	return name != "" && !strings.ContainsFunc(name, isSign)
}

// spell turns a JSON pointer into a path.
func (n *node) spell(pointer []string) string {
	path := ""
	for _, token := range pointer {
		if n != nil && n.kind == listNode {
			path += "[" + token + "]"
		} else {
			path = join(path, token)
		}
		n = n.child(token)
	}
	return path
}

// str is the node's text, or "" when it is none.
func (n *node) str() string {
	if n == nil {
		return ""
	}
	text, _ := n.scalar.(string)
	return text
}
