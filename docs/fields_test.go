package docs_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"squall/internal/mesh/local"
	"squall/internal/report"
	"squall/internal/scenario"
)

// schema is as much of a JSON Schema as a table of fields needs.
type schema struct {
	Ref         string             `json:"$ref"`
	Defs        map[string]*schema `json:"$defs"`
	Description string             `json:"description"`
	Type        string             `json:"type"`
	Enum        []any              `json:"enum"`
	Properties  json.RawMessage    `json:"properties"`
	Required    []string           `json:"required"`
	Items       *schema            `json:"items"`
	Additional  *schema            `json:"additionalProperties"`
	OneOf       []*schema          `json:"oneOf"`
	Minimum     json.Number        `json:"minimum"`
	Maximum     json.Number        `json:"maximum"`
}

// UnmarshalJSON takes the schemas true and false too.
func (s *schema) UnmarshalJSON(data []byte) error {
	if string(data) == "true" || string(data) == "false" {
		return nil
	}
	type plain schema
	return json.Unmarshal(data, (*plain)(s))
}

func scenarioSchema(t *testing.T) *schema { return parseSchema(t, scenario.Schema) }

func parseSchema(t *testing.T, source func() ([]byte, error)) *schema {
	t.Helper()
	data, err := source()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// property is a field in the order of the schema.
type property struct {
	name string
	schema
}

func (s *schema) properties(t *testing.T) []property {
	t.Helper()
	if len(s.Properties) == 0 {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(s.Properties)))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	var out []property
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		p := property{name: name.(string)}
		if err := dec.Decode(&p.schema); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func scenarioFields(t *testing.T, definition, _ string) string {
	return fieldTable(t, scenarioSchema(t), definition, "")
}

func resultFields(t *testing.T, definition, _ string) string {
	return fieldTable(t, parseSchema(t, report.Schema), definition, "../internal/check/result.go")
}

// fieldTable has the fields of a definition. What the schema does not describe is taken from the comments of the file of, if any.
func fieldTable(t *testing.T, root *schema, definition, of string) string {
	t.Helper()
	def, ok := root.Defs[definition]
	if !ok {
		t.Fatalf("the schema has no definition %q", definition)
	}
	var b strings.Builder
	b.WriteString("| field | type | meaning |\n|---|---|---|\n")
	for _, p := range def.properties(t) {
		kind := p.kind()
		for _, r := range def.Required {
			if r == p.name {
				kind += ", required"
			}
		}
		meaning := meaning(p.name, p.Description)
		if len(p.Enum) == 1 {
			meaning = ""
		}
		if meaning == "" && of != "" {
			meaning = comments(t, of)[definition+"."+p.name]
		}
		if target := root.Defs[strings.TrimPrefix(p.Ref, "#/$defs/")]; meaning == "" && target != nil {
			meaning = regexp.MustCompile(`^\w+ (is )?`).ReplaceAllString(target.Description, "")
			meaning = strings.ToUpper(meaning[:1]) + meaning[1:]
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.name, kind, strings.ReplaceAll(meaning, "|", `\|`))
	}
	return b.String()
}

// kind is a field's type in words.
func (s *schema) kind() string {
	names := map[string]string{
		"Duration": "duration", "Percent": "percent", "Share": "whole percent", "Text": "expression", "Scalar": "text, number or truth value",
		"Object": "Kubernetes object",
	}
	switch {
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, "#/$defs/")
		if plain, ok := names[name]; ok {
			return plain
		}
		if name == "Step" {
			return "[step](steps.md)"
		}
		return "[" + name + "](#" + strings.ToLower(name) + ")"
	case len(s.OneOf) > 0:
		return s.OneOf[0].kind()
	case s.Type == "array" && s.Items != nil:
		return "list of " + s.Items.kind()
	case s.Type == "object" && s.Additional != nil:
		return "map to " + s.Additional.kind()
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprintf("`%v`", v))
		}
		return strings.Join(values, ", ")
	}
	text := s.Type
	if s.Minimum != "" {
		text += ", from " + string(s.Minimum)
	}
	if s.Maximum != "" {
		text += " to " + string(s.Maximum)
	}
	return text
}

// meaning is a doc comment without the field's Go name before it.
func meaning(field, doc string) string {
	first, rest, ok := strings.Cut(doc, " ")
	if !ok || !strings.EqualFold(first, field) {
		return doc
	}
	for _, verb := range []string{"is ", "are "} {
		if what, ok := strings.CutPrefix(rest, verb); ok {
			if word, _, _ := strings.Cut(what, " "); strings.ContainsAny(word, "/:1") { // a value
				return what
			}
			return strings.ToUpper(what[:1]) + what[1:]
		}
	}
	return "`" + field + "` " + rest
}

// TestEveryFieldIsDescribed holds the pages to have a table for each type with fields.
func TestEveryFieldIsDescribed(t *testing.T) {
	text := read(t, "scenario.md").text + read(t, "steps.md").text
	for name, def := range scenarioSchema(t).Defs {
		if len(def.Properties) > 0 && name != "Step" && !strings.Contains(text, "<!-- generated: fields "+name+" -->") {
			t.Errorf("no page has the fields of %s", name)
		}
	}
	text = read(t, "results.md").text
	for name, def := range parseSchema(t, report.Schema).Defs {
		if len(def.Properties) > 0 && !strings.Contains(text, "<!-- generated: result "+name+" -->") {
			t.Errorf("no page has the fields of %s", name)
		}
	}
}

// comments are those of the fields of a file's types, by type and JSON name.
func comments(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range fields.Fields.List {
			if field.Tag == nil {
				continue
			}
			tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
			name, _, _ := strings.Cut(tag.Get("json"), ",")
			out[spec.Name.Name+"."+name] = strings.Join(strings.Fields(field.Doc.Text()+" "+field.Comment.Text()), " ")
		}
		return true
	})
	return out
}

func imageTable(t *testing.T, _, _ string) string {
	t.Helper()
	list, err := local.Images(nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| image | program |\n|---|---|\n")
	for _, i := range list {
		fmt.Fprintf(&b, "| `%s` | `%s` |\n", i.Name, i.Program)
	}
	return b.String()
}

func acceptedTable(*testing.T, string, string) string {
	var b strings.Builder
	b.WriteString("| kind | field | why it changes nothing |\n|---|---|---|\n")
	for _, f := range local.Accepted() {
		kind := f.Kind
		if kind == "" {
			kind = "all"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", kind, f.Path, f.Why)
	}
	return b.String()
}
