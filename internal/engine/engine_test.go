package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"squall/internal/engine"
	"squall/internal/record"
	"squall/internal/scenario"
)

const text = `apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: probe}
spec:
  hypothesis: It holds.
  fixtures: [./app.yaml]
  baseline:
    load: {url: "http://app:8000/", requests: 20}
    checks: ["ratio(code == 200) >= 1"]
  stages:
  - name: one
    checks: ["ratio(code == 200) >= 1"]
`

const app = `apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  selector: {app: app}
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: example.com/team/app:1.2
        ports: [{containerPort: 8080}]
`

// load writes the scenario and its fixture into dir.
func load(t *testing.T, dir string) *scenario.Scenario {
	t.Helper()
	for name, body := range map[string]string{"probe.yaml": text, "app.yaml": app} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := scenario.Load(filepath.Join(dir, "probe.yaml"), scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUnknownImageIsAMistakeOfTheFixture(t *testing.T) {
	dir := t.TempDir()
	_, err := engine.Config{Fixtures: dir, Env: "local"}.Compile(load(t, dir))
	want := filepath.Join(dir, "app.yaml") + ":18:16: spec.template.spec.containers[0].image: " +
		"no program stands for the image example.com/team/app:1.2 on the local mesh (give --image team/app=PROGRAM; "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nwant %s…", err, want)
	}
}

func TestImagesOfTheScenarioAndOfTheCaller(t *testing.T) {
	for name, c := range map[string]struct {
		caller, own map[string]string
		want        string // "" is no error
	}{
		"of the caller":        {caller: map[string]string{"team/app": "/bin/true"}},
		"of the scenario":      {own: map[string]string{"team/app": "/bin/true"}},
		"of the caller, wrong": {caller: map[string]string{"team/app": " "}, want: `image "team/app= ": write NAME=PROGRAM [ARG…]`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := load(t, dir)
			s.Spec.Images = c.own
			_, err := engine.Config{Fixtures: dir, Env: "local", Images: c.caller}.Compile(s)
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(s.Spec.Images) != len(c.own) {
				t.Errorf("the scenario was changed: %v", s.Spec.Images)
			}
		})
	}
}

// Each compilation is for a run of its own.
func TestRunsAreToldApart(t *testing.T) {
	dir := t.TempDir()
	c := engine.Config{Fixtures: dir, Env: "local", Images: map[string]string{"team/app": "/bin/true"}}
	s := load(t, dir)
	seen := map[string]bool{}
	for range 50 {
		k, err := c.Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		if seen[k.RunID] || !strings.HasPrefix(k.RunID, "probe-") {
			t.Fatalf("run id %s again", k.RunID)
		}
		seen[k.RunID] = true
	}
}

func TestJudgeOfWhatIsNoRun(t *testing.T) {
	rec, err := record.Create(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := engine.Judge(rec); err == nil || out != nil || !strings.Contains(err.Error(), "run.json") {
		t.Errorf("%v, %v", out, err)
	}
}

func TestRunIntoAFolderThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	c := engine.Config{Fixtures: dir, Env: "local", Reports: filepath.Join(dir, "app.yaml"), Images: map[string]string{"team/app": "/bin/true"}}
	k, err := c.Compile(load(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.Run(t.Context(), k, nil); err == nil || out != nil || !strings.Contains(err.Error(), "create the reports folder: ") {
		t.Errorf("%v, %v", out, err)
	}
}
