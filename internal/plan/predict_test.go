package plan

import (
	"strings"
	"testing"

	"squall/internal/check"
	"squall/internal/rules"
)

func TestMeasurable(t *testing.T) {
	one := 1.0
	m := &rules.Model{Services: []*rules.Service{{Name: "near"}, {Name: "far"}}}
	for measure, want := range map[string]struct{ predicted, unpredicted, bug bool }{
		"ratio(code == 200)":    {predicted: true},
		"access(near).count":    {predicted: true},
		"access(far).count":     {unpredicted: true},
		"access(nowhere).count": {bug: true},
		"ratio(kode == 200)":    {bug: true},
	} {
		var judged check.PhaseSpec
		err := measurable([]check.Prediction{{Measure: measure, Value: &one}}, m, []string{"near"}, &judged)
		got := struct{ predicted, unpredicted, bug bool }{len(judged.Predictions) == 1, len(judged.Unpredicted) == 1, err != nil}
		if got != want || err != nil && !strings.Contains(err.Error(), measure) {
			t.Errorf("%s: %+v, %v; want %+v", measure, got, err, want)
		}
	}
}
