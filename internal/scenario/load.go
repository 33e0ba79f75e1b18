package scenario

import (
	"encoding/json"
	"fmt"
	"time"
)

// Options change how a scenario is read.
type Options struct {
	// Set overrides the defaults of variables. A name that the scenario does not have is a problem.
	Set map[string]string
}

// Load reads a scenario from a file. Mistakes in it are returned all at once, as Problems; a file that cannot be read is
// another error.
func Load(path string, opts Options) (*Scenario, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the scenario: %w", err)
	}
	return Parse(path, data, opts)
}

// Parse reads a scenario from the content of the file called name. The file itself is not read, but what it includes is,
// relative to the name. Mistakes are returned all at once, as Problems.
func Parse(name string, data []byte, opts Options) (*Scenario, error) {
	l := new(loader)
	root := l.document(name, data, "Scenario", nil)
	if root == nil {
		return nil, l.problems.Err()
	}
	problems := append(l.problems, substitute(root, opts.Set)...)
	schemaProblems, err := validateSchema(root)
	if err != nil {
		return nil, err
	}
	for _, p := range schemaProblems {
		if !problems.explain(p.Path) {
			problems = append(problems, p)
		}
	}
	s, err := decode(root)
	if err == nil {
		problems = append(problems, s.validate(problems)...)
	} else if len(problems) == 0 {
		problems = append(problems, Problem{Pos: root.pos, What: "cannot be decoded: " + err.Error()})
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	s.setDefaults()
	s.Files = l.files
	return s, nil
}

func decode(root *node) (*Scenario, error) {
	data, err := json.Marshal(root.value())
	if err != nil {
		return nil, err
	}
	s := &Scenario{File: root.pos.File, places: newPlaces(root)}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, err
	}
	s.place()
	return s, nil
}

// place tells the expressions and steps where they stand.
func (s *Scenario) place() {
	texts := func(path string, list []Text) {
		for i := range list {
			at := fmt.Sprintf("%s[%d]", path, i)
			list[i].Pos, list[i].start = s.At(at), s.places.texts[at]
		}
	}
	texts("spec.halt", s.Spec.Halt)
	texts("spec.baseline.checks", s.Spec.Baseline.Checks)
	for i := range s.Spec.Stages {
		stage, path := &s.Spec.Stages[i], fmt.Sprintf("spec.stages[%d]", i)
		texts(path+".checks", stage.Checks)
		texts(path+".halt", stage.Halt)
		if stage.Gate != nil {
			texts(path+".gate.promote", stage.Gate.Promote)
		}
		for j := range stage.Apply {
			step := &stage.Apply[j]
			step.Path, step.places = join(fmt.Sprintf("%s.apply[%d]", path, j), step.Kind), s.places
		}
	}
}

// UnmarshalJSON sets the defaults that are not zero before it decodes.
func (s *Spec) UnmarshalJSON(data []byte) error {
	type plainSpec Spec
	p := plainSpec{
		Namespace: "squall",
		Mesh:      Mesh{MTLS: "PERMISSIVE"},
		Client:    Client{ServiceAccount: "squall-load", Sidecar: true},
		Timeout:   Duration(5 * time.Minute),
		Seed:      1,
	}
	err := json.Unmarshal(data, &p)
	*s = Spec(p)
	return err
}

// UnmarshalJSON sets the defaults that are not zero before it decodes.
func (l *LoadSpec) UnmarshalJSON(data []byte) error {
	type plainLoad LoadSpec
	p := plainLoad{Protocol: "http/1.1", Connections: 1, Timeout: Duration(10 * time.Second)}
	err := json.Unmarshal(data, &p)
	*l = LoadSpec(p)
	return err
}

// setDefaults sets what depends on other fields.
func (s *Scenario) setDefaults() {
	s.Spec.Baseline.Load.setMethod()
	for i := range s.Spec.Stages {
		stage := &s.Spec.Stages[i]
		if stage.Load == nil && s.Spec.Baseline.Load != nil {
			load := *s.Spec.Baseline.Load
			stage.Load = &load
		}
		stage.Load.setMethod()
		if stage.Gate != nil && stage.Gate.Expect == "" {
			stage.Gate.Expect = "promote"
		}
	}
}

func (l *LoadSpec) setMethod() {
	switch {
	case l == nil || l.Method != "":
	case l.Body != "":
		l.Method = "POST"
	default:
		l.Method = "GET"
	}
}
