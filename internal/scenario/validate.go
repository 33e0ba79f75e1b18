package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

func kindNames() []string { return slices.Sorted(maps.Keys(Kinds())) }

// validateSchema reports what the schema refuses and drops it from the document, so that the rest can be looked at. The
// error is Squall's own mistake, not the author's.
func validateSchema(root *node) (Problems, error) {
	schema, err := compileSchema()
	if err != nil {
		return nil, fmt.Errorf("compiling the scenario's schema: %w", err)
	}
	v := &schemaValidator{root: root}
	for {
		var invalid *jsonschema.ValidationError
		err := schema.compiled.Validate(root.value())
		if err == nil {
			break
		}
		if !errors.As(err, &invalid) {
			return nil, fmt.Errorf("validating: %w", err)
		}
		v.schema, v.problems, v.bad, v.coerced = schema, nil, nil, false
		v.visit(invalid)
		if !v.coerced {
			break
		}
	}
	slices.SortFunc(v.bad, func(a, b []string) int { return len(b) - len(a) })
	for _, pointer := range v.bad {
		root.drop(pointer)
	}
	return v.problems, nil
}

type compiledSchema struct {
	compiled *jsonschema.Schema
	raw      any
}

func compileSchema() (*compiledSchema, error) {
	data, err := json.Marshal(reflectSchema(nil))
	if err != nil {
		return nil, err
	}
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.RegisterFormat(&jsonschema.Format{Name: formatDuration, Validate: validateDuration})
	c.RegisterFormat(&jsonschema.Format{Name: formatURL, Validate: validateURL})
	if err := c.AddResource(schemaID, raw); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(schemaID)
	return &compiledSchema{compiled, raw}, err
}

// schemaValidator turns the schema's findings into problems.
type schemaValidator struct {
	root     *node
	schema   *compiledSchema
	problems Problems
	bad      [][]string // what to drop
	coerced  bool       // a variable's value was made a text, as the field wants: validate again
}

func (v *schemaValidator) visit(e *jsonschema.ValidationError) {
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Reference, *kind.Group, *kind.AllOf:
		for _, cause := range e.Causes {
			v.visit(cause)
		}
	case *kind.AdditionalProperties:
		v.unknown(e, k.Properties)
	case *kind.Required:
		v.missing(e, k.Missing)
	default:
		v.value(e)
	}
}

func (v *schemaValidator) unknown(e *jsonschema.ValidationError, names []string) {
	parent := v.root.at(e.InstanceLocation)
	known := v.schema.properties(e.SchemaURL)
	for _, name := range names {
		what, hint := "unknown field", DidYouMean(name, known)
		if strings.HasSuffix(e.SchemaURL, "/Step") {
			what = "unknown kind of step"
			if Nearest(name, known) == "" {
				hint = "there is " + strings.Join(known, ", ")
			}
		}
		pointer := append(slices.Clone(e.InstanceLocation), name)
		v.add(parent.field(name).key, pointer, what, hint)
		v.bad = append(v.bad, pointer)
	}
}

func (v *schemaValidator) missing(e *jsonschema.ValidationError, names []string) {
	n := v.root.at(e.InstanceLocation)
	for _, name := range names {
		v.add(n.key, append(slices.Clone(e.InstanceLocation), name), "is missing", "")
	}
}

func (v *schemaValidator) value(e *jsonschema.ValidationError) {
	n := v.root.at(e.InstanceLocation)
	if n.variable && wantsText(e.ErrorKind) {
		n.scalar, n.variable, v.coerced = scalarText(n.scalar), false, true
		return
	}
	what, hint := v.describe(e, n)
	pos := n.pos
	if n.kind != scalarNode || n.scalar == nil {
		pos = n.key
	}
	v.add(pos, e.InstanceLocation, what, hint)
	v.bad = append(v.bad, e.InstanceLocation)
}

func (v *schemaValidator) add(pos Pos, pointer []string, what, hint string) {
	v.problems = append(v.problems, Problem{Pos: pos, Path: v.root.spell(pointer), What: what, Hint: hint})
}

func wantsText(k jsonschema.ErrorKind) bool {
	t, ok := k.(*kind.Type)
	return ok && slices.Equal(t.Want, []string{"string"}) && t.Got != "null"
}

func (v *schemaValidator) describe(e *jsonschema.ValidationError, n *node) (what, hint string) {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return describeType(e, k, n)
	case *kind.AnyOf:
		if strings.HasSuffix(e.SchemaURL, "/Pods") {
			return fmt.Sprintf("%s is neither a number of pods nor all", shown(n)), "write 1 or more, or all"
		}
		return "must be a text, a number, true or false", ""
	case *kind.Enum:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = fmt.Sprint(w)
		}
		return fmt.Sprintf("%v is not known", k.Got), DidYouMean(fmt.Sprint(k.Got), want)
	case *kind.Format:
		return fmt.Sprint(k.Err), formatHint(k)
	case *kind.Pattern:
		return fmt.Sprintf("%q is not allowed", k.Got), patternHint(k.Want)
	case *kind.Minimum:
		if k.Want.Sign() == 0 {
			return shown(n) + " is negative", ""
		}
		return fmt.Sprintf("%s is below %s", shown(n), k.Want.RatString()), ""
	case *kind.ExclusiveMinimum:
		return fmt.Sprintf("%s is not above %s", shown(n), k.Want.RatString()), "leave the step out to inject nothing"
	case *kind.Maximum:
		return fmt.Sprintf("%s is above %s", shown(n), k.Want.RatString()), ""
	case *kind.MinLength, *kind.MinItems:
		return "is empty", ""
	case *kind.MaxLength:
		return fmt.Sprintf("is longer than %d characters", k.Want), ""
	case *kind.MinProperties:
		return "is empty", ""
	case *kind.MaxProperties:
		return "holds several kinds of steps: " + strings.Join(n.names(), ", "), "begin each step with a dash of its own"
	}
	return e.ErrorKind.LocalizedString(message.NewPrinter(language.English)), ""
}

func describeType(e *jsonschema.ValidationError, k *kind.Type, n *node) (what, hint string) {
	if k.Got == "null" {
		return "is empty", "give it a value or remove it"
	}
	want := strings.Join(k.Want, " or ")
	what = fmt.Sprintf("must be %s, not %s", article(want), article(k.Got))
	isText := k.Got == "string"
	switch {
	case strings.HasSuffix(e.SchemaURL, "/Duration"):
		return fmt.Sprintf("%s is not a time span", shown(n)), "write a duration such as 10s"
	case want == "string" && n.kind == scalarNode:
		return what, fmt.Sprintf("write %q in quotes", shown(n))
	case isText && strings.HasSuffix(shown(n), "%"):
		return what, "write " + strings.TrimSuffix(shown(n), "%") + " without the sign"
	case want == "array":
		return what, "begin each entry with a dash"
	}
	return what, ""
}

func article(jsonType string) string {
	names := map[string]string{
		"string": "a text", "number": "a number", "integer": "a whole number", "boolean": "true or false",
		"object": "a mapping", "array": "a list", "null": "empty",
	}
	if name, ok := names[jsonType]; ok {
		return name
	}
	return jsonType
}

func formatHint(k *kind.Format) string {
	if k.Want == formatURL {
		return "write a URL such as http://httpbin:8000/get"
	}
	text := fmt.Sprint(k.Got)
	if _, err := time.ParseDuration(text); err == nil {
		return "" // negative or zero: the notation is known
	}
	if d, ok := guessDuration(text); ok {
		return "write " + d
	}
	return "write a duration such as 10s"
}

// guessDuration reads what people write instead of Go's notation: 10 seconds, 10sec, 2 min, 10.
func guessDuration(text string) (string, bool) {
	number := strings.TrimRight(strings.ToLower(strings.TrimSpace(text)), "abcdefghijklmnopqrstuvwxyz. ")
	unit := strings.TrimSpace(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), number))
	units := map[string]string{
		"ms": "ms", "msec": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms", "s": "s", "sec": "s",
		"secs": "s", "second": "s", "seconds": "s", "m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
		"h": "h", "hour": "h", "hours": "h",
	}
	guess := number + units[unit]
	d, err := time.ParseDuration(guess)
	return guess, err == nil && d > 0
}

func patternHint(pattern string) string {
	if pattern == "^[A-Z]+$" {
		return "use capital letters, such as GET"
	}
	return "use small letters, digits and -, with a letter or digit at both ends"
}

func shown(n *node) string {
	text := fmt.Sprint(n.value())
	if r := []rune(text); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return text
}

// properties are the fields that the object at the URL's fragment may have.
func (s *compiledSchema) properties(url string) []string {
	_, pointer, _ := strings.Cut(url, "#")
	at := s.raw
	for _, token := range strings.Split(strings.Trim(pointer, "/"), "/") {
		if m, ok := at.(map[string]any); ok && token != "" {
			at = m[token]
		}
	}
	if m, ok := at.(map[string]any); ok {
		at = m["properties"]
	}
	m, _ := at.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}
