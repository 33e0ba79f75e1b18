package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	junitreader "github.com/joshdk/go-junit"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"squall/internal/check"
	"squall/internal/record"
)

func rendered(t *testing.T, render func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := render(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func samples() map[string]Data {
	return map[string]Data{"pass": sample(), "fail": failed(), "empty": {Result: check.Result{Scenario: "lost"}}}
}

func TestGolden(t *testing.T) {
	for name, d := range samples() {
		golden(t, name+".txt", rendered(t, func(w io.Writer) error { return Text(w, d, Options{Width: 100}) }))
		golden(t, name+".color.txt", rendered(t, func(w io.Writer) error { return Text(w, d, Options{Color: true}) }))
		golden(t, name+".junit.xml", rendered(t, func(w io.Writer) error { return JUnit(w, d) }))
		golden(t, name+".md", rendered(t, func(w io.Writer) error { return Markdown(w, d) }))
		golden(t, name+".annotations.txt", rendered(t, func(w io.Writer) error { return Annotations(w, d) }))
		golden(t, name+".html", rendered(t, func(w io.Writer) error { return HTML(w, d) }))
		golden(t, name+".result.json", rendered(t, func(w io.Writer) error { return JSON(w, d.Result) }))
	}
}

// TestWriteError shows that each renderer hands on the writer's error.
func TestWriteError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	d := failed()
	for name, render := range map[string]func(io.Writer) error{
		"text": func(w io.Writer) error { return Text(w, d, Options{}) }, "junit": func(w io.Writer) error { return JUnit(w, d) },
		"markdown": func(w io.Writer) error { return Markdown(w, d) }, "annotations": func(w io.Writer) error { return Annotations(w, d) },
		"html": func(w io.Writer) error { return HTML(w, d) }, "json": func(w io.Writer) error { return JSON(w, d.Result) },
	} {
		if err := render(full); err == nil {
			t.Errorf("%s: no error from a full disk", name)
		}
	}
}

func TestTextLastLine(t *testing.T) {
	for name, d := range samples() {
		for _, width := range []int{0, 20, 80} {
			lines := strings.Split(strings.TrimSuffix(string(rendered(t, func(w io.Writer) error { return Text(w, d, Options{Width: width}) })), "\n"), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, d.Result.Verdict.String()+" ") {
				t.Errorf("%s: last line %q does not begin with the verdict", name, last)
			}
			for _, l := range lines {
				if strings.ContainsAny(l, "\x1b\x00\r\u202e") || strings.HasPrefix(strings.TrimSpace(l), "::") || strings.Contains(l, "##[") {
					t.Errorf("%s: unsafe line %q", name, l)
				}
			}
		}
	}
}

// TestJUnitConsumer reads junit.xml with a reader that knows nothing of the encoder.
func TestJUnitConsumer(t *testing.T) {
	for name, want := range map[string]map[junitreader.Status]int{
		"pass":  {junitreader.StatusPassed: 7},
		"fail":  {junitreader.StatusPassed: 3, junitreader.StatusFailed: 2, junitreader.StatusError: 2},
		"empty": {junitreader.StatusFailed: 2},
	} {
		d := samples()[name]
		b := rendered(t, func(w io.Writer) error { return JUnit(w, d) })
		suites, err := junitreader.Ingest(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(suites) != 1 {
			t.Fatalf("%s: %d suites, want 1", name, len(suites))
		}
		got := map[junitreader.Status]int{}
		for _, c := range suites[0].Tests {
			got[c.Status]++
			if c.Classname == "" || c.Name == "" {
				t.Errorf("%s: a case without a name: %+v", name, c)
			}
		}
		for status, n := range want {
			if got[status] != n {
				t.Errorf("%s: %d cases are %s, want %d", name, got[status], status, n)
			}
		}
		if got[junitreader.StatusSkipped] != 0 {
			t.Errorf("%s: a case is skipped", name)
		}
		strictXML(t, b)
	}
}

// strictXML fails on characters that XML 1.0 does not allow.
func strictXML(t *testing.T, b []byte) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.Strict = true
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, b)
		}
	}
}

// TestJUnitNeverGreen shows that no run that did not pass is all green.
func TestJUnitNeverGreen(t *testing.T) {
	for v := check.Inconclusive; v <= check.Halted; v++ {
		for _, spoil := range []func(*Data){
			func(d *Data) { d.Result.Verdict = v },
			func(d *Data) { d.Result.Verdict, d.Result.Phases[1].Verdict = v, v },
			func(d *Data) { d.Result.Verdict, d.Result.Rollback.Verdict = v, v },
			func(d *Data) { d.Result = check.Result{Verdict: v, Scenario: "x"} },
		} {
			d := sample()
			spoil(&d)
			bad := bytes.Contains(rendered(t, func(w io.Writer) error { return JUnit(w, d) }), []byte("<failure ")) ||
				bytes.Contains(rendered(t, func(w io.Writer) error { return JUnit(w, d) }), []byte("<error "))
			if v != check.Pass && !bad {
				t.Errorf("a run that is %s has no failing case", v)
			}
		}
	}
}

func TestSchema(t *testing.T) {
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "result.schema.json", b)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range samples() {
		var v any
		if err := json.Unmarshal(rendered(t, func(w io.Writer) error { return JSON(w, d.Result) }), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		v.(map[string]any)["verdict"] = "GREEN"
		if err := schema.Validate(v); err == nil {
			t.Errorf("%s: a verdict GREEN is valid", name)
		}
	}
}

func TestMarkdownCap(t *testing.T) {
	d := sample()
	o := d.Result.Phases[1].Outcomes[0]
	o.Reason = strings.Repeat("a long reason ", 100)
	for range 2000 {
		d.Result.Phases[1].Outcomes = append(d.Result.Phases[1].Outcomes, o)
	}
	b := rendered(t, func(w io.Writer) error { return Markdown(w, d) })
	if len(b) > maxMarkdown {
		t.Errorf("%d bytes, GitHub takes %d", len(b), maxMarkdown)
	}
	if !bytes.HasPrefix(b, []byte("## ✅ PASS: circuit")) || !bytes.HasSuffix(b, []byte("the report has it.*\n")) {
		t.Errorf("the verdict is not first or the cut is not said: %.60s … %s", b, b[len(b)-60:])
	}
}

func TestAnnotationsCap(t *testing.T) {
	for n, want := range map[int]int{1: 1, 9: 9, 10: 10, 11: 10, 40: 10} {
		d := Data{Result: check.Result{Verdict: check.Fail, Phases: []check.PhaseResult{{Outcomes: make([]check.Outcome, n)}}}} // of the zero verdict
		got := bytes.Count(rendered(t, func(w io.Writer) error { return Annotations(w, d) }), []byte("\n"))
		if got != want {
			t.Errorf("%d outcomes make %d annotations, want %d", n, got, want)
		}
	}
}

func TestWriteFiles(t *testing.T) {
	run, err := record.Create(t.TempDir(), "r1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(run.Dir(), "junit.xml", "in-the-way"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = WriteFiles(run, sample())
	if err == nil || !strings.Contains(err.Error(), run.Path("junit.xml")+" was not written") {
		t.Errorf("error %v does not name the file that could not be written", err)
	}
	for _, name := range []string{"result.json", "report.html"} {
		if fi, err := os.Stat(run.Path(name)); err != nil || fi.Size() == 0 {
			t.Errorf("%s was not written beside the one that failed: %v", name, err)
		}
	}
	entries, err := os.ReadDir(run.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), "tmp") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}
