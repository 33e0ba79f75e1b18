package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/invopop/jsonschema"
)

// Duration is a time span above zero, written as Go does: 250ms, 10s, 1m30s. Zero is "not given".
type Duration time.Duration

// UnmarshalJSON reads Go's notation.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	*d = Duration(parsed)
	return err
}

// MarshalJSON writes Go's notation.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// String writes Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }

// JSONSchema describes the notation.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Format: formatDuration, Examples: []any{"250ms", "10s", "1m30s"},
		Description: "A time span above zero with its unit: 250ms, 10s, 1m30s."}
}

// Percent is a share above 0 and up to 100.
type Percent float64

// JSONSchema describes the limits.
func (Percent) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "number", ExclusiveMinimum: "0", Maximum: "100",
		Description: "A share above 0 and up to 100."}
}

// Share is a whole number of percent from 0 to 100: Istio's weights are whole.
type Share int32

// JSONSchema describes the limits.
func (Share) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "integer", Minimum: "0", Maximum: "100",
		Description: "A whole number of percent from 0 to 100."}
}

// Pods is how many pods of a workload a step is about.
type Pods struct {
	Count int  // 0 is not given, which is 1
	All   bool // all of them, however many there are
}

// Of is how many of so many pods are meant; ok is false when there are not enough.
func (p Pods) Of(have int) (n int, ok bool) {
	if p.All {
		return have, have > 0
	}
	n = max(1, p.Count)
	return n, n <= have
}

// UnmarshalJSON reads a whole number, or the word all.
func (p *Pods) UnmarshalJSON(data []byte) error {
	if string(data) == `"all"` {
		*p = Pods{All: true}
		return nil
	}
	p.All = false
	return json.Unmarshal(data, &p.Count)
}

// MarshalJSON writes it as it is read.
func (p Pods) MarshalJSON() ([]byte, error) {
	if p.All {
		return []byte(`"all"`), nil
	}
	return json.Marshal(max(1, p.Count))
}

// JSONSchema describes the two forms.
func (Pods) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		AnyOf:       []*jsonschema.Schema{{Type: "integer", Minimum: "1"}, {Const: "all"}},
		Description: "A whole number of pods from 1, or all.",
	}
}

// Scalar is a text, a number or a truth value.
type Scalar struct{ Value any }

// UnmarshalJSON keeps whole numbers whole.
func (s *Scalar) UnmarshalJSON(data []byte) (err error) {
	s.Value, err = decodeAny(data)
	return err
}

// MarshalJSON writes the value.
func (s Scalar) MarshalJSON() ([]byte, error) { return json.Marshal(s.Value) }

// JSONSchema describes the types.
func (Scalar) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}},
		Description: "A text, a number, true or false."}
}

// Pattern is a text, or a regular expression.
type Pattern struct{ Text, Regex string }

// UnmarshalJSON reads a string, or an object with regex.
func (p *Pattern) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &p.Text) == nil {
		return nil
	}
	var o struct {
		Regex string `json:"regex"`
	}
	err := json.Unmarshal(data, &o)
	p.Regex = o.Regex
	return err
}

// MarshalJSON writes it as it is read.
func (p Pattern) MarshalJSON() ([]byte, error) {
	if p.Regex == "" {
		return json.Marshal(p.Text)
	}
	return json.Marshal(map[string]string{"regex": p.Regex})
}

// JSONSchema describes the two forms.
func (Pattern) JSONSchema() *jsonschema.Schema {
	one := uint64(1)
	text := func() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", MinLength: &one} }
	regex := jsonschema.NewProperties()
	regex.Set("regex", text())
	return &jsonschema.Schema{
		AnyOf: []*jsonschema.Schema{text(), {
			Type: "object", Properties: regex, Required: []string{"regex"}, AdditionalProperties: jsonschema.FalseSchema,
		}},
		Description: "A text, or {regex: …} with a regular expression of RE2.",
	}
}

// Text is an expression that the author wrote, with its place.
type Text struct {
	Value string
	Pos   Pos
	start int // column of the expression's first character when it stands on one line as it is, else 0
}

// At is the place of the expression's column, counted from 1 in characters. Where the file holds the expression
// otherwise than it is (folded, escaped, with variables), it is where the expression begins.
func (t Text) At(column int) Pos {
	if t.start == 0 || column < 1 {
		return t.Pos
	}
	return Pos{t.Pos.File, t.Pos.Line, t.start + column - 1}
}

// UnmarshalJSON reads a string; the place is filled in by Parse.
func (t *Text) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &t.Value) }

// MarshalJSON writes the string alone.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.Value) }

// JSONSchema describes a string that is not empty.
func (Text) JSONSchema() *jsonschema.Schema {
	one := uint64(1)
	return &jsonschema.Schema{Type: "string", MinLength: &one, Examples: []any{"ratio(code == 503) in [0.1, 0.95] @95%"},
		Description: "An expression over what was recorded."}
}

// Object is any Istio or Kubernetes object; whole numbers in it are int64.
type Object map[string]any

// UnmarshalJSON keeps whole numbers whole.
func (o *Object) UnmarshalJSON(data []byte) error {
	value, err := decodeAny(data)
	if err != nil {
		return err
	}
	*o, _ = value.(map[string]any)
	return nil
}

// JSONSchema describes an object with the fields that all kinds have.
func (Object) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", Required: []string{"apiVersion", "kind", "metadata"},
		Description: "An Istio or Kubernetes object."}
}

func decodeAny(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return plain(value), nil
}

func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		return plainNumber(v)
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return value
}

const (
	formatDuration = "go-duration"
	formatURL      = "load-url"
)

func validateDuration(v any) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a time span", text)
	case d < 0:
		return fmt.Errorf("%q is negative", text)
	case d == 0:
		return fmt.Errorf("%q is zero, but must be above", text)
	}
	return nil
}

func validateURL(v any) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", text)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "grpc":
		return fmt.Errorf("%q has no scheme", text)
	case u.Hostname() == "":
		return fmt.Errorf("%q has no host", text)
	}
	return nil
}
