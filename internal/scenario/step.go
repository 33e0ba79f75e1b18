package scenario

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Step is one chaos step: in YAML a map with exactly one key, the kind.
type Step struct {
	Kind string // circuitBreaker, delay, …: see Kinds
	Spec any    // a pointer to the kind's type, such as *CircuitBreaker
	Path string // spec.stages[0].apply[0].circuitBreaker

	places *places
}

// Kinds maps the kinds of steps to makers of their types, with their defaults set. The map is the caller's.
func Kinds() map[string]func() any {
	return map[string]func() any{
		"circuitBreaker": func() any { return new(CircuitBreaker) },
		"outlier":        func() any { return new(Outlier) },
		"delay":          func() any { return &Delay{Percent: 100} },
		"abort":          func() any { return &Abort{Percent: 100} },
		"timeout":        func() any { return new(Timeout) },
		"retries":        func() any { return new(Retries) },
		"weights":        func() any { return new(Weights) },
		"mirror":         func() any { return &Mirror{Percent: 100} },
		"route":          func() any { return new(Route) },
		"jwt":            func() any { return new(JWT) },
		"authorize":      func() any { return new(Authorize) },
		"gateway":        func() any { return new(Gateway) },
		"mtls":           func() any { return new(MTLS) },
		"scale":          func() any { return new(Scale) },
		"kill":           func() any { return new(Kill) },
		"restart":        func() any { return new(Restart) },
		"rollout":        func() any { return new(Rollout) },
		"stop":           func() any { return new(Stop) },
		"partition":      func() any { return new(Partition) },
		"evict":          func() any { return new(Evict) },
		"cordon":         func() any { return new(Cordon) },
		"flowControl":    func() any { return new(FlowControl) },
		"manifest":       func() any { return new(Manifest) },
	}
}

// Host is the service that the step names, or "" for kinds that name none.
func (s Step) Host() string { return s.text("Host") }

// Workload is the Deployment that a step on a workload names, or "" for others.
func (s Step) Workload() string {
	if p, ok := s.Spec.(*Partition); ok && p.To != "" {
		return p.To
	}
	return s.text("Workload")
}

// Unproven is the author's reason why the step needs no proof, or "".
func (s Step) Unproven() string { return s.text("Unproven") }

// API is what the author wrote that the step is compiled to: istio, gateway, or "".
func (s Step) API() string { return s.text("API") }

// text is a field of the spec that every kind has, or only some.
func (s Step) text(field string) string {
	v := reflect.Indirect(reflect.ValueOf(s.Spec))
	if v.Kind() != reflect.Struct {
		return ""
	}
	if f := v.FieldByName(field); f.IsValid() && f.Kind() == reflect.String {
		return f.String()
	}
	return ""
}

// String is the kind and what it is about: circuitBreaker httpbin, authorize app=reviews, manifest rules.yaml.
func (s Step) String() string {
	about := s.Host() + s.Workload() // none has both
	switch spec := s.Spec.(type) {
	case *MTLS:
		about = labelText(spec.Workload)
	case *JWT:
		about = labelText(spec.Workload)
	case *Authorize:
		about = labelText(spec.Workload)
	case *Gateway:
		about = spec.Name
	case *FlowControl:
		about = spec.Service
	case *Partition:
		if spec.From != "" {
			about = spec.From + " from " + spec.To
		}
	case *Manifest:
		if spec.File != "" {
			about = filepath.Base(spec.File)
		}
	}
	return strings.TrimSpace(s.Kind + " " + about)
}

func labelText(labels map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return strings.Join(list, ",")
}

// At is the place of a field of the step, such as subsets.v1, or of the step when field is "".
func (s Step) At(field string) Pos { return s.places.at(s.path(field)) }

// Problem is a mistake in a field of the step, or in the step when field is "".
func (s Step) Problem(field, what, hint string) Problem {
	return Problem{Pos: s.At(field), Path: s.path(field), What: what, Hint: hint}
}

// Resolve makes a path that the step names relative to the file in which it is named.
func (s Step) Resolve(field, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(s.At(field).File), path)
}

func (s Step) path(field string) string {
	if field == "" || s.Path == "" {
		return s.Path + field
	}
	return s.Path + "." + field
}

// UnmarshalJSON decodes a map with exactly one key.
func (s *Step) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	for kind, body := range raw {
		maker, ok := Kinds()[kind]
		if !ok || len(raw) != 1 {
			return fmt.Errorf("a step is a map with one key, its kind, but got %d", len(raw))
		}
		s.Kind, s.Spec = kind, maker()
		return json.Unmarshal(body, s.Spec)
	}
	return nil
}

// MarshalJSON writes the map with one key.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{s.Kind: s.Spec})
}
