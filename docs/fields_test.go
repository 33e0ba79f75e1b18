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

	"sigs.k8s.io/yaml"

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
		"Duration": "duration", "Percent": "percent", "Share": "whole percent", "Text": "expression", "Scalar": "text, number or truth value", "Setting": "text, number, truth value, list of these, or null", "Pattern": "text, or `{regex: …}`",
		"Object": "Kubernetes object", "Pods": "whole number from 1, or `all`",
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

// refusedManifests are a kind each, and what in it the local mesh has to refuse: a field with its value, or nothing for the whole kind.
func refusedManifests() []struct{ apiVersion, kind, field, value string } {
	const pod, container = "spec.template.spec.", "spec.template.spec.containers.0."
	return []struct{ apiVersion, kind, field, value string }{
		{"v1", "Pod", "", ""}, {"apps/v1", "StatefulSet", "", ""}, {"apps/v1", "DaemonSet", "", ""}, {"batch/v1", "Job", "", ""},
		{"batch/v1", "CronJob", "", ""}, {"v1", "PersistentVolumeClaim", "", ""}, {"v1", "Endpoints", "", ""},
		{"networking.k8s.io/v1", "Ingress", "", ""}, {"networking.k8s.io/v1", "NetworkPolicy", "", ""},
		{"networking.istio.io/v1", "Gateway", "spec.selector", "{istio: other}"}, {"networking.istio.io/v1", "Gateway", "spec.servers.0.bind", "10.0.0.1"},
		{"networking.istio.io/v1", "Gateway", "spec.servers.0.tls.serverCertificate", "/etc/cert.pem"}, {"networking.istio.io/v1", "Sidecar", "", ""},
		{"networking.istio.io/v1", "ProxyConfig", "", ""}, {"extensions.istio.io/v1alpha1", "WasmPlugin", "", ""},
		{"v1", "Service", "spec.clusterIP", "None"}, {"v1", "Service", "spec.externalName", "example.com"},
		{"v1", "Service", "spec.sessionAffinity", "ClientIP"}, {"v1", "Service", "spec.ports.0.protocol", "UDP"},
		{"apps/v1", "Deployment", "spec.minReadySeconds", "5"},
		{"apps/v1", "Deployment", pod + "initContainers", "[{name: a}]"},
		{"apps/v1", "Deployment", pod + "containers", "[{name: a}, {name: b}]"},
		{"apps/v1", "Deployment", pod + "volumes", "[{name: a, configMap: {name: a}}]"},
		{"apps/v1", "Deployment", pod + "hostNetwork", "true"},
		{"apps/v1", "Deployment", container + "command", "[sh]"}, {"apps/v1", "Deployment", container + "lifecycle", "{preStop: {exec: {command: [a]}}}"},
		{"apps/v1", "Deployment", container + "startupProbe", "{httpGet: {}}"},
		{"apps/v1", "Deployment", container + "readinessProbe.exec", "{command: [a]}"},
		{"apps/v1", "Deployment", container + "readinessProbe.grpc", "{port: 1}"},
		{"apps/v1", "Deployment", container + "resources.limits", "{cpu: 1}"},
		{"apps/v1", "Deployment", container + "ports.0.hostPort", "8080"},
		{"apps/v1", "Deployment", container + "securityContext.privileged", "true"},
	}
}

func refusedTable(t *testing.T, _, _ string) string {
	t.Helper()
	facts, err := local.ReadFacts(nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| kind | field | why | instead |\n|---|---|---|---|\n")
	for _, m := range refusedManifests() {
		text := "{apiVersion: " + m.apiVersion + ", kind: " + m.kind + ", metadata: {name: a}}"
		if m.kind == "Deployment" {
			text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, " +
				"spec: {containers: [{name: a, image: fortio/fortio, ports: [{containerPort: 8080}]}]}}}}"
		}
		var o map[string]any
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		if m.field != "" {
			var value any
			if err := yaml.Unmarshal([]byte(m.value), &value); err != nil {
				t.Fatal(err)
			}
			set(o, strings.Split(m.field, "."), value)
		}
		found := local.Check([]map[string]any{o}, facts)
		if len(found) != 1 {
			t.Errorf("%s %s: %s: got %+v, want one problem", m.kind, m.field, m.value, found)
			continue
		}
		path := "—"
		if m.field != "" {
			path = "`" + strings.ReplaceAll(strings.ReplaceAll(m.field, ".0", "[]"), "spec.template.spec.", "…") + ": " + m.value + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", m.kind, path, found[0].What, found[0].Hint)
	}
	return b.String()
}

// set puts a value into an object; numbers in the path are places in lists, which are made.
func set(o map[string]any, path []string, value any) {
	switch {
	case len(path) == 1:
		o[path[0]] = value
	case path[1] == "0":
		list, _ := o[path[0]].([]any)
		if len(list) == 0 {
			list = []any{map[string]any{}}
			o[path[0]] = list
		}
		set(list[0].(map[string]any), path[2:], value)
	default:
		below, ok := o[path[0]].(map[string]any)
		if !ok {
			below = map[string]any{}
			o[path[0]] = below
		}
		set(below, path[1:], value)
	}
}
