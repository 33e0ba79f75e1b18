package traffic

import (
	"strings"
	"sync"
)

// Other is the interface of all that would exceed a cap: what it holds is stated, and not mixed with what has a name.
const Other = "other"

const (
	anyValue = "{value}" // a segment with too many values to be the name of a thing
	rest     = "{rest}"  // what is below the deepest segment looked at
	maxDepth = 16
)

// Caps bound how many interfaces are learned. A zero is the default. Interfaces that were given are always known.
type Caps struct {
	PerService int // methods with their interfaces, 500
	Total      int // of all services together, 20,000
	Siblings   int // names that one segment may have before others become {value}, 50; when half of a cap is used up, all others do
}

// Key is a service as interfaces are counted for it.
type Key struct{ Namespace, Service string }

// Interfaces tells which interface a path belongs to: a template that was given, or one learned from the paths that were seen, where
// segments that look like ids are {id}. What was learned stays, so the same path keeps its interface, but a segment's first 50 names keep
// theirs and others do not: which these are depends on the order. Give templates where that matters.
type Interfaces struct {
	caps  Caps
	given *given

	mu      sync.Mutex
	total   int
	learned map[Key]*learned
	other   uint64
}

// learned are the interfaces of one service.
type learned struct {
	root  node
	count int
}

// node is one segment of the paths that were seen.
type node struct {
	text    string // the interface up to here
	methods []string
	below   map[string]*node
}

// NewInterfaces makes the interfaces of templates and of what will be learned. It refuses two templates that differ in the names of their
// parameters alone.
func NewInterfaces(caps Caps, templates ...Template) (*Interfaces, error) {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&caps.PerService, 500)
	def(&caps.Total, 20_000)
	def(&caps.Siblings, 50)
	g, err := newGiven(templates)
	if err != nil {
		return nil, err
	}
	return &Interfaces{caps: caps, given: g, learned: map[Key]*learned{}}, nil
}

// Of is the interface of a path as it was requested.
func (in *Interfaces) Of(key Key, method, path string) string {
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	if i := strings.Index(path, "://"); i >= 0 {
		path = path[i+3:]
		path = path[min(len(path), max(0, strings.IndexByte(path+"/", '/'))):]
	}
	segments := split(path)
	if name, ok := in.given.match(key, method, segments); ok {
		return name
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	name, ok := in.learn(key, method, segments)
	if !ok {
		in.other++
		return Other
	}
	return name
}

// Others counts the answers that were Other.
func (in *Interfaces) Others() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.other
}

// learn walks down the segments that were seen, and adds to them while the caps allow.
func (in *Interfaces) learn(key Key, method string, segments []string) (string, bool) {
	l := in.learned[key]
	room := in.total < in.caps.Total
	if l == nil {
		if !room {
			return "", false
		}
		l = &learned{root: node{text: "/"}}
		in.learned[key] = l
	}
	room = room && l.count < in.caps.PerService
	tight := 2*l.count >= in.caps.PerService || 2*in.total >= in.caps.Total // the other half is for what has {value} or {id}
	at := &l.root
	for i, s := range segments {
		if i == maxDepth {
			s = rest
		} else {
			s = generalize(s)
		}
		next := at.below[s]
		if next == nil && (tight || len(at.below) >= in.caps.Siblings) && !strings.Contains(s, idSegment) {
			s = anyValue
			next = at.below[s]
		}
		if next == nil {
			if !room {
				return "", false
			}
			next = at.add(s)
		}
		at = next
		if i == maxDepth {
			break
		}
	}
	for _, m := range at.methods {
		if m == method {
			return at.text, true
		}
	}
	if !room {
		return "", false
	}
	at.methods = append(at.methods, method)
	l.count++
	in.total++
	return at.text, true
}

func (n *node) add(segment string) *node {
	if n.below == nil {
		n.below = map[string]*node{}
	}
	child := &node{text: strings.TrimSuffix(n.text, "/") + "/" + segment}
	n.below[strings.Clone(segment)] = child
	return child
}

// split are a path's segments; empty ones and parameters behind semicolons are left out.
func split(path string) []string {
	var out []string
	for s := range strings.SplitSeq(path, "/") {
		if s, _, _ = strings.Cut(s, ";"); s != "" {
			out = append(out, s)
		}
	}
	return out
}
