package report

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	"github.com/invopop/jsonschema"

	"squall/internal/check"
)

// SchemaID is the $id of result.json's JSON Schema.
const SchemaID = "urn:squall:v1alpha1:result"

// JSON writes a result as result.json has it.
func JSON(w io.Writer, r check.Result) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Schema is the JSON Schema (draft 2020-12) of result.json. It does not forbid fields that later versions may add.
func Schema() ([]byte, error) {
	r := jsonschema.Reflector{
		AllowAdditionalProperties: true,
		Mapper:                    mapVerdict,
		LookupComment:             describe,
	}
	s := r.Reflect(check.Result{})
	for _, def := range s.Definitions {
		allowNull(def)
	}
	s.ID = SchemaID
	s.Title = "Squall result"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the schema of result.json: %w", err)
	}
	return append(b, '\n'), nil
}

func mapVerdict(t reflect.Type) *jsonschema.Schema {
	if t != reflect.TypeFor[check.Verdict]() {
		return nil
	}
	s := &jsonschema.Schema{Type: "string", Description: "Only PASS is a success."}
	for v := check.Inconclusive; v <= check.Halted; v++ {
		s.Enum = append(s.Enum, v.String())
	}
	return s
}

// allowNull makes null valid for the slices and maps of a type: Go writes an empty one so, as in a run that died early.
func allowNull(s *jsonschema.Schema) {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		if p.Value.Type == "array" || p.Value.Type == "object" {
			p.Value = &jsonschema.Schema{OneOf: []*jsonschema.Schema{p.Value, {Type: "null"}}}
		}
	}
}

// describe gives the fields whose meaning is not plain from their names a description.
func describe(t reflect.Type, field string) string {
	descriptions := map[string]string{
		"Result.Reason":      "One sentence that names what decided the verdict.",
		"Result.ExitCode":    "0 pass, 1 a check failed, 3 environment, 4 inconclusive, 5 halted, 6 rollback failed, 129, 130 or 143 a signal.",
		"Result.Seconds":     "How long the run took.",
		"Result.Rollback":    "Whether what was there before the run is back.",
		"Outcome.Kind":       "check, proof, rollback or halt.",
		"Outcome.Expr":       "The expression as the author wrote it.",
		"Outcome.Limit":      "The limit as written, such as \"in [0.1, 0.95]\".",
		"Outcome.Need":       "How many requests would have been needed, when too few is the reason.",
		"Measure.Value":      "Absent when it was not measured; never 0 instead.",
		"Measure.Lo":         "Lower end of the interval at the confidence.",
		"Measure.Hi":         "Upper end of the interval at the confidence.",
		"Measure.Method":     "How the interval was made.",
		"Measure.N":          "How many samples the value rests on.",
		"Measure.Unit":       "s for times in seconds, requests for counts, empty for ratios and plain numbers.",
		"Measure.Source":     "Where the value was read.",
		"Measure.Missing":    "What was missing, when there is no value.",
		"PhaseResult.Reason": "One sentence that names what decided the verdict.",
	}
	return descriptions[t.Name()+"."+field]
}
