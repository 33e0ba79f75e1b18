package scenario

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// substitute replaces ${name} in all values of the document but the header, spec.variables and spec.include.
func substitute(root *node, set map[string]string) Problems {
	vars, problems := variables(root.field("spec").field("variables"), set)
	s := substitution{vars: vars, reference: regexp.MustCompile(`\$?\$\{[^}]*\}?`), problems: problems}
	root.walk("", func(path string, n *node) {
		if path != "apiVersion" && path != "kind" && !under(path, "spec.variables") && !under(path, "spec.include") {
			s.replace(path, n)
		}
	})
	return s.problems
}

func under(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// variables are the defaults with the overrides laid over.
func variables(defaults *node, set map[string]string) (map[string]any, Problems) {
	vars, problems := map[string]any{}, Problems(nil)
	if defaults != nil {
		for _, f := range defaults.fields {
			vars[f.name] = f.value.scalar
			if !isPlainName(f.name) {
				problems = append(problems, Problem{Pos: f.value.key, Path: join("spec.variables", f.name),
					What: "a variable's name has letters, digits, _ and - only"})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		pos := Pos{File: "--set " + name}
		old, ok := vars[name]
		if !ok {
			problems = append(problems, Problem{Pos: pos, What: fmt.Sprintf("the scenario has no variable %q", name),
				Hint: DidYouMean(name, slices.Collect(maps.Keys(vars)))})
			continue
		}
		value, err := likeDefault(old, set[name])
		if err != nil {
			problems = append(problems, Problem{Pos: pos, What: err.Error()})
			continue
		}
		vars[name] = value
	}
	return vars, problems
}

// likeDefault reads the text of an override as the type of the default.
func likeDefault(old any, text string) (any, error) {
	switch old.(type) {
	case json.Number:
		var number json.Number
		if err := json.Unmarshal([]byte(text), &number); err != nil || number == "" {
			return nil, fmt.Errorf("%q is not a number, as the default is", text)
		}
		return number, nil
	case bool:
		value, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false, as the default is", text)
		}
		return value, nil
	}
	return text, nil
}

type substitution struct {
	vars      map[string]any
	reference *regexp.Regexp
	problems  Problems
}

func (s *substitution) replace(path string, n *node) {
	text, ok := n.scalar.(string)
	if !ok || !strings.Contains(text, "${") {
		return
	}
	at := func(offset int) Pos {
		if n.text == 0 {
			return n.pos
		}
		return Pos{n.pos.File, n.pos.Line, n.text + utf8.RuneCountInString(text[:offset])}
	}
	var out strings.Builder
	last := 0
	for _, m := range s.reference.FindAllStringIndex(text, -1) {
		out.WriteString(text[last:m[0]])
		last = m[1]
		reference := text[m[0]:m[1]]
		if plain, escaped := strings.CutPrefix(reference, "$$"); escaped {
			out.WriteString("$" + plain)
			continue
		}
		value, p := s.lookup(reference)
		if p != nil {
			p.Pos, p.Path = at(m[0]), path
			s.problems = append(s.problems, *p)
			continue
		}
		if reference == text {
			n.scalar, n.text, n.variable = value, 0, true
			return
		}
		out.WriteString(scalarText(value))
	}
	out.WriteString(text[last:])
	n.scalar, n.text = out.String(), 0
}

func (s *substitution) lookup(reference string) (any, *Problem) {
	name, closed := strings.CutSuffix(strings.TrimPrefix(reference, "${"), "}")
	if !closed {
		return nil, &Problem{What: "${ without }", Hint: "write $${ for a plain ${"}
	}
	value, ok := s.vars[name]
	if !ok {
		return nil, &Problem{What: fmt.Sprintf("there is no variable %q", name),
			Hint: DidYouMean(name, slices.Collect(maps.Keys(s.vars)))}
	}
	return value, nil
}

func scalarText(value any) string { return fmt.Sprint(value) }
