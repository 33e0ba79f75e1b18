package local

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is a field of a manifest that the local mesh cannot honour.
type Problem struct {
	Index int    // of the object in what was checked
	Path  string // such as spec.template.spec.containers[0].livenessProbe; "" is the object
	What  string // what is wrong with the field's value
	Hint  string // what to do about it
}

// Check finds what the local mesh would not honour in objects that belong together, as decoded from their manifests. Each field of
// Kubernetes' own kinds is either honoured, or in Accepted, or a Problem. Istio's objects go to the real istiod; of them only those
// that need Istio's own agent or a cluster's traffic interception are problems, and Gateways that no gateway serves.
func Check(objects []map[string]any, facts Facts) []Problem {
	table := kinds()
	var out []Problem
	var decoded []any
	for i, o := range objects {
		c := checker{index: i, facts: facts}
		var typed any
		if k := c.object(o, table); k != nil && k.decode != nil {
			typed = c.decode(o, k.decode())
		}
		decoded = append(decoded, typed)
		out = append(out, c.found...)
	}
	out = append(out, checkTogether(decoded)...)
	out = append(out, checkSelectors(objects, decoded)...)
	slices.SortStableFunc(out, func(a, b Problem) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

// Meaningless is a field that the local mesh takes although it changes nothing there.
type Meaningless struct {
	Kind string // "" is every kind
	Path string // [] is each element, * each key; all below the field is meant too
	Why  string
}

// Accepted is the table of the fields that the local mesh takes although they change nothing there, in the order of their kinds.
func Accepted() []Meaningless {
	var out []Meaningless
	add := func(kind string, rules []rule) {
		for _, r := range rules {
			if r.why != "" {
				out = append(out, Meaningless{Kind: kind, Path: r.path, Why: r.why})
			}
		}
	}
	add("", commonRules())
	table := kinds()
	for _, k := range sortedKeys(table) {
		add(table[k].name, table[k].rules)
	}
	return out
}

// rule is what the local mesh makes of one field and of all below it that has no rule of its own. Without why and judge the field
// is honoured.
type rule struct {
	path  string // [] stands for each element, * for each key
	why   string // the field has no meaning on the local mesh, and why
	judge judge  // nil takes any value
}

// judge says what is wrong with a value, "" when it is fine.
type judge func(value any) (what, hint string)

// tree is rules by the parts of their paths.
type tree struct {
	rule  *rule
	below map[string]*tree
}

func newTree(rules ...[]rule) *tree {
	root := &tree{}
	for _, list := range rules {
		for i := range list {
			at := root
			for _, part := range parts(list[i].path) {
				if at.below == nil {
					at.below = map[string]*tree{}
				}
				if at.below[part] == nil {
					at.below[part] = &tree{}
				}
				at = at.below[part]
			}
			at.rule = &list[i]
		}
	}
	return root
}

// parts splits a path such as metadata.labels["istio.io/rev"] or spec.ports[].name.
func parts(path string) []string {
	var out []string
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, "[]"):
			out, path = append(out, "[]"), path[2:]
		case strings.HasPrefix(path, `["`):
			name, rest, _ := strings.Cut(path[2:], `"]`)
			out, path = append(out, name), rest
		default:
			n := strings.IndexAny(path, ".[")
			if n < 0 {
				n = len(path)
			}
			out, path = append(out, path[:n]), path[n:]
		}
	}
	return out
}

// checker collects the problems of one object.
type checker struct {
	index int
	facts Facts
	found []Problem
}

func (c *checker) add(path, what, hint string) {
	c.found = append(c.found, Problem{Index: c.index, Path: path, What: what, Hint: hint})
}

// object judges an object by the table of its kind, and returns the kind when there is one that the local mesh honours.
func (c *checker) object(o map[string]any, table map[string]kind) *kind {
	apiVersion, _ := o["apiVersion"].(string)
	name, _ := o["kind"].(string)
	group, _, inGroup := strings.Cut(apiVersion, "/")
	if !inGroup {
		group = ""
	}
	k, known := table[strings.TrimPrefix(group+"/"+name, "/")]
	switch {
	case known && k.refused != "":
		c.add("kind", k.refused, k.hint)
	case known && k.istio != nil:
		k.istio(c, o)
	case strings.HasSuffix(group, ".istio.io"):
	case !known:
		c.add("kind", "the local mesh does nothing for a "+name+" of "+apiVersion, onCluster)
	case k.apiVersion != apiVersion:
		c.add("apiVersion", apiVersion+" has no "+name, "write "+k.apiVersion)
	default:
		c.walk(o, newTree(commonRules(), k.rules), "", false)
		return &k
	}
	return nil
}

// walk judges a value and all below it. covered says that a rule further up holds for what has none of its own.
func (c *checker) walk(v any, t *tree, path string, covered bool) {
	if v == nil {
		return
	}
	if t.rule != nil {
		covered = true
		if t.rule.judge != nil {
			if what, hint := t.rule.judge(v); what != "" {
				c.add(path, what, hint)
				return
			}
		}
	}
	if t.below == nil {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for _, name := range sortedKeys(x) {
			c.step(x[name], t.find(name), join(path, name), covered)
		}
	case []any:
		for i := range x {
			c.step(x[i], t.find("[]"), path+"["+strconv.Itoa(i)+"]", covered)
		}
	default:
		if !covered {
			c.add(path, fmt.Sprintf("%v is not what belongs here", v), "see kubectl explain")
		}
	}
}

func (c *checker) step(v any, t *tree, path string, covered bool) {
	switch {
	case t != nil:
		c.walk(v, t, path, covered)
	case v != nil && !covered:
		c.add(path, "the local mesh does not know this field", "check its spelling, remove it, or run on a cluster")
	}
}

func (t *tree) find(name string) *tree {
	if b := t.below[name]; b != nil || name == "[]" {
		return b
	}
	return t.below["*"]
}

// join adds a key to a path; a key that is not a plain name is quoted, in brackets.
func join(path, name string) string {
	plain := name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	switch {
	case !plain:
		return path + "[" + strconv.Quote(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
