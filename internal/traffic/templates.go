package traffic

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Template is an interface that somebody named: /products/{id}/reviews.
type Template struct {
	Key    Key    // the service it is of; empty fields are any
	Method string // empty is any
	Path   string
}

// ParseTemplate reads "[METHOD ]/path/{parameter}". A last segment {name...} stands for all that follows, or for nothing.
func ParseTemplate(s string) (Template, error) {
	method, path, has := strings.Cut(strings.TrimSpace(s), " ")
	if !has {
		method, path = "", method
	}
	t := Template{Method: strings.ToUpper(method), Path: strings.TrimSpace(path)}
	return t, t.check()
}

func (t Template) check() error {
	what := fmt.Sprintf("interface %q", strings.TrimSpace(t.Method+" "+t.Path))
	if !strings.HasPrefix(t.Path, "/") {
		return fmt.Errorf("%s: its path begins with /: write [METHOD ]/path/{parameter}", what)
	}
	if t.Method != "" && method(t.Method, "HTTP/1.1") == OtherMethod {
		return fmt.Errorf("%s: HTTP has no method %s", what, t.Method)
	}
	if strings.ContainsAny(t.Path, "?#;") {
		return fmt.Errorf("%s: an interface has no query, fragment or parameters behind a semicolon", what)
	}
	segments := split(t.Path)
	for i, s := range segments {
		name, parameter := strings.CutPrefix(s, "{")
		inner, closed := strings.CutSuffix(name, "}")
		switch {
		case parameter != closed, strings.ContainsAny(inner, "{}"):
			return fmt.Errorf("%s: a parameter is a whole segment in braces, and %q is not", what, s)
		case parameter && strings.TrimSuffix(inner, "...") == "":
			return fmt.Errorf("%s: a parameter needs a name", what)
		case strings.HasSuffix(inner, "...") && i < len(segments)-1:
			return fmt.Errorf("%s: %s stands for all that follows, and so is the last segment", what, s)
		}
	}
	return nil
}

// OpenAPI reads the interfaces of a document of OpenAPI 2 or 3, in JSON or YAML, as those of a service. Parts of segments that are
// parameters, as in /files/{name}.json, make the whole segment one.
func OpenAPI(key Key, document []byte) ([]Template, error) {
	var doc struct {
		Swagger, OpenAPI string
		BasePath         string                    `json:"basePath"`
		Servers          []struct{ URL string }    `json:"servers"`
		Paths            map[string]map[string]any `json:"paths"`
	}
	if err := yaml.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("an OpenAPI document: %w", err)
	}
	if doc.Swagger == "" && doc.OpenAPI == "" {
		return nil, errors.New("an OpenAPI document has a field openapi or swagger; this one has none")
	}
	bases := []string{doc.BasePath}
	for _, s := range doc.Servers {
		u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(s.URL))
		if err == nil && !slices.Contains(bases, strings.TrimSuffix(u.Path, "/")) {
			bases = append(bases, strings.TrimSuffix(u.Path, "/"))
		}
	}
	var out []Template
	for path, operations := range doc.Paths {
		for m := range operations {
			m = strings.ToUpper(m)
			if method(m, "HTTP/1.1") == OtherMethod || m == http.MethodConnect {
				continue // summary, parameters, servers, x-…
			}
			for _, base := range bases {
				t := Template{Key: key, Method: m, Path: whole(base + path)}
				if err := t.check(); err != nil {
					return nil, fmt.Errorf("an OpenAPI document: %w", err)
				}
				out = append(out, t)
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("an OpenAPI document without an operation: it names no interface")
	}
	slices.SortFunc(out, func(a, b Template) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return out, nil
}

// whole makes segments parameters that hold some.
func whole(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if strings.Contains(s, "{") && (s[0] != '{' || strings.IndexByte(s, '}') != len(s)-1) {
			segments[i] = "{" + strings.Trim(strings.NewReplacer("{", "", "}", "").Replace(s), ".") + "}"
		}
	}
	return strings.Join(segments, "/")
}

// given are the templates, by segment.
type given struct{ root branch }

type branch struct {
	below     map[string]*branch
	parameter *branch
	ends      []Template // those that end here
	all       []Template // those that take all that follows
}

func newGiven(templates []Template) (*given, error) {
	g := &given{}
	for _, t := range templates {
		if err := t.check(); err != nil {
			return nil, err
		}
		at, all := &g.root, false
		for _, s := range split(t.Path) {
			if all = strings.HasSuffix(s, "...}"); all {
				break
			}
			at = at.child(s)
		}
		into := &at.ends
		if all {
			into = &at.all
		}
		for _, other := range *into {
			if other.Key == t.Key && other.Method == t.Method && other.Path != t.Path {
				return nil, fmt.Errorf("interfaces %q and %q take the same paths: keep one", other.Path, t.Path)
			}
		}
		*into = append(*into, t)
	}
	return g, nil
}

func (b *branch) child(segment string) *branch {
	if strings.HasPrefix(segment, "{") {
		if b.parameter == nil {
			b.parameter = &branch{}
		}
		return b.parameter
	}
	if b.below == nil {
		b.below = map[string]*branch{}
	}
	if b.below[segment] == nil {
		b.below[segment] = &branch{}
	}
	return b.below[segment]
}

// match finds the template of a path: a name wins over a parameter, and that over what takes all.
func (g *given) match(key Key, method string, segments []string) (string, bool) {
	if g.root.below == nil && g.root.parameter == nil && g.root.ends == nil && g.root.all == nil {
		return "", false
	}
	budget := 1000 // of branches looked at: names and parameters could be mixed so that there are too many
	return g.root.match(key, method, segments, &budget)
}

func (b *branch) match(key Key, method string, segments []string, budget *int) (string, bool) {
	if b == nil || *budget == 0 {
		return "", false
	}
	*budget--
	if len(segments) == 0 {
		if path, ok := best(b.ends, key, method); ok {
			return path, true
		}
		return best(b.all, key, method)
	}
	if path, ok := b.below[segments[0]].match(key, method, segments[1:], budget); ok {
		return path, true
	}
	if path, ok := b.parameter.match(key, method, segments[1:], budget); ok {
		return path, true
	}
	return best(b.all, key, method)
}

// best is the template that is most exactly this service's and method's.
func best(of []Template, key Key, method string) (path string, ok bool) {
	most := -1
	for _, t := range of {
		score := 0
		for i, want := range []string{t.Method, t.Key.Namespace, t.Key.Service} {
			got := []string{method, key.Namespace, key.Service}[i]
			switch want {
			case "":
			case got:
				score += 1 << i
			default:
				score = -100
			}
		}
		if score > most {
			most, path, ok = score, t.Path, true
		}
	}
	return path, ok
}
