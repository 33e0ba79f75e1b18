package scenario

import (
	"embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

const schemaID = "urn:squall:v1alpha1:scenario"

//go:embed types.go steps.go policies.go traffic.go faults.go flowcontrol.go records.go
var sources embed.FS

// Schema is the JSON Schema (draft 2020-12) of a scenario, with the descriptions of all fields. Documents are validated
// with it, so that an editor that knows it reports what Squall reports, but for what depends on several fields.
func Schema() ([]byte, error) {
	comments, err := fieldComments()
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(reflectSchema(comments), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(data, '\n'), nil
}

func reflectSchema(comments map[string]string) *jsonschema.Schema {
	r := &jsonschema.Reflector{Anonymous: true, RequiredFromJSONSchemaTags: true, CommentMap: comments}
	schema := r.Reflect(&Scenario{})
	schema.ID = schemaID
	schema.Title = "Squall scenario"
	kinds := jsonschema.NewProperties()
	for _, kind := range kindNames() {
		t := reflect.TypeOf(Kinds()[kind]()).Elem()
		for name, definition := range r.ReflectFromType(t).Definitions {
			schema.Definitions[name] = definition
		}
		kinds.Set(kind, &jsonschema.Schema{Ref: "#/$defs/" + t.Name()})
	}
	one := uint64(1)
	schema.Definitions["Step"] = &jsonschema.Schema{
		Type: "object", Properties: kinds, MinProperties: &one, MaxProperties: &one,
		AdditionalProperties: jsonschema.FalseSchema,
		Description:          "One chaos step: a map with exactly one key, its kind.",
	}
	return schema
}

// JSONSchema is a stand-in: Schema puts the table of kinds in its place.
func (Step) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{Type: "object"} }

// fieldComments are the doc comments of the types, by the names that the reflector looks for.
func fieldComments() (map[string]string, error) {
	comments := map[string]string{}
	prefix := reflect.TypeOf(Scenario{}).PkgPath() + "."
	for _, name := range []string{"types.go", "steps.go", "policies.go", "traffic.go", "faults.go", "flowcontrol.go", "records.go"} {
		source, err := sources.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded %s: %w", name, err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded %s: %w", name, err)
		}
		for _, decl := range file.Decls {
			if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.TYPE {
				collectComments(comments, prefix, gen)
			}
		}
	}
	return comments, nil
}

func collectComments(comments map[string]string, prefix string, gen *ast.GenDecl) {
	for _, spec := range gen.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		comments[prefix+t.Name.Name] = sentence(gen.Doc)
		fields, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range fields.Fields.List {
			for _, name := range f.Names {
				comments[prefix+t.Name.Name+"."+name.Name] = sentence(f.Doc)
			}
		}
	}
}

func sentence(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }
