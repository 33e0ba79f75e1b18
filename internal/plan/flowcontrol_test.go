package plan_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"squall/internal/flowcontrol"
)

// withFlow is a scenario with one line of steps and one check.
func withFlow(t *testing.T, steps, check string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "flow.yaml")
	text := `apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: flow}
spec:
  hypothesis: It is planned.
  fixtures: [es-flowcontrol]
  baseline:
    load: {url: "http://elasticsearch:9200/_search", requests: 20}
    checks: ["ratio(code == 200) >= 1"]
  stages:
  - name: one
    apply: [` + steps + `]
    checks: ['` + check + `']
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const anyCheck = "count(code == 200) > 0"

// TestFlowControlIsRefused says at its place what flow control would not take.
func TestFlowControlIsRefused(t *testing.T) {
	set := func(settings string) string {
		return "{flowControl: {service: elasticsearch, settings: {" + settings + "}}}"
	}
	for steps, want := range map[string]string{
		set("flowcontrol.http.concurent: 5"):                                                           `settings["flowcontrol.http.concurent"]: flow control has no such key (did you mean "flowcontrol.http.concurrent"?)`,
		set("flowcontrol.http.concurrent: 0"):                                                          "is 0, and must be from 1 to 1000000",
		set("flowcontrol.http.enabled: 7"):                                                             "is 7, and only [true] or [false] are allowed",
		set("cluster.name: x"):                                                                         "is no setting of flow control",
		set("cluster.blocks.read_only: 7"):                                                             "is 7, and only [true] or [false] are allowed",
		set("cluster.blocks.read_only: true, flowcontrol.http.enabled: true"):                          "Elasticsearch takes a block back only by itself",
		set("cluster.blocks.write: true"):                                                              "is no setting of flow control",
		set("flowcontrol.http.*: null"):                                                                "has a * in it",
		set("flowcontrol.http: {enabled: true}"):                                                       "flowcontrol.http",
		"{flowControl: {service: elasticsearch}}":                                                      "settings: is missing",
		"{flowControl: {service: elastic, settings: {flowcontrol.http.enabled: true}}}":                `no service has the host "elastic"`,
		"{flowControl: {service: elasticsearch, port: 1, settings: {flowcontrol.http.enabled: true}}}": "the Service elasticsearch has no port 1",
		"{flowControl: {service: s, url: 'https://u:secret@h:9200', settings: {flowcontrol.http.enabled: true}}}":                                                                              "url: has a user in it",
		"{flowControl: {service: s, url: 'ftp://h', settings: {flowcontrol.http.enabled: true}}}":                                                                                              "is no address of a service",
		"{flowControl: {service: s, url: 'https://h', port: 9200, settings: {flowcontrol.http.enabled: true}}}":                                                                                "port: is given beside url",
		"{flowControl: {service: s, url: 'https://h', credentials: {username: u}, settings: {flowcontrol.http.enabled: true}}}":                                                                "needs username together with passwordEnv or passwordFile",
		"{flowControl: {service: s, url: 'https://h', credentials: {username: u, apiKeyEnv: K}, settings: {flowcontrol.http.enabled: true}}}":                                                  "has a user and an API key",
		set("flowcontrol.http.concurrent: 5") + ", " + set("flowcontrol.http.concurrent: 6"):                                                                                                   "of the flow control of elasticsearch to 6, but",
		"{flowControl: {service: s, url: 'https://h', settings: {flowcontrol.http.enabled: true}}}, {flowControl: {service: s, url: 'https://i', settings: {flowcontrol.http.concurrent: 5}}}": "asks for s at https://i, and an earlier step at https://h",
	} {
		_, err := buildFor(withFlow(t, steps, anyCheck), "../../fixtures", true)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "flow.yaml:12:") {
			t.Errorf("%s:\n%v\nwant %s", steps, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("a secret is repeated: %v", err)
		}
	}
	_, err := buildFor(withFlow(t, "", "flowcontrol(elastic).http.rejected_new == 0"), "../../fixtures", true)
	if err == nil || !strings.Contains(err.Error(), `flow.yaml:13:15: there is no service "elastic" whose flow control could be asked (there is elasticsearch, elasticsearch-node)`) {
		t.Errorf("%v", err)
	}
}

// TestFlowControlIsPlanned: where services are asked, what proves a step, and what is stated.
func TestFlowControlIsPlanned(t *testing.T) {
	p, err := buildFor(withFlow(t, `{flowControl: {service: elasticsearch, settings: {flowcontrol.http.enabled: true, flowcontrol.http.deny: 10.0.0.1}}},
      {flowControl: {service: s, url: "https://h:9200", credentials: {apiKeyEnv: KEY}, scope: transient, settings: {flowcontrol.memory.enabled: true, flowcontrol.later: 1}}},
      {flowControl: {service: s, url: "https://h:9200", credentials: {apiKeyEnv: KEY}, settings: {flowcontrol.http.concurrent: null}}}`,
		`flowcontrol("elasticsearch-node").node.current_open < 9`), "../../fixtures", true)
	if err != nil {
		t.Fatal(err)
	}
	want := []flowcontrol.Place{
		{Name: "elasticsearch", Namespace: "squall", Service: "elasticsearch", Port: 9201},
		{Name: "s", URL: "https://h:9200", Credentials: flowcontrol.Credentials{APIKey: flowcontrol.Secret{Env: "KEY"}}},
		{Name: "elasticsearch-node", Namespace: "squall", Service: "elasticsearch-node", Port: 9200},
	}
	if !slices.Equal(p.Flow, want) {
		t.Errorf("asked: %+v", p.Flow)
	}
	if got := p.Phases[1].Settings; len(got) != 3 || len(got[1].Change.Transient) != 2 || len(got[1].Change.Persistent) != 0 {
		t.Errorf("set: %+v", got)
	}
	judged := p.Spec.Phases[1]
	var proofs []string
	for _, x := range judged.Proofs {
		proofs = append(proofs, x.Expr)
	}
	all := strings.Join(proofs, "\n")
	for _, part := range []string{
		`flowcontrol("elasticsearch").http.rejected_deny > 0`, `flowcontrol("elasticsearch").http.rejected_concurrent + flowcontrol("elasticsearch").http.rejected_new + flowcontrol("elasticsearch").transport`,
		`flowcontrol("s").memory.memory_rejected > 0`,
	} {
		if !strings.Contains(all, part) {
			t.Errorf("the proofs lack %s:\n%s", part, all)
		}
	}
	if len(judged.Unproven) != 1 || !strings.Contains(judged.Unproven[0], "takes limits away") || len(judged.Predictions) != 0 {
		t.Errorf("%+v, %+v", judged.Unproven, judged.Predictions)
	}
	if text := p.Document().String(); !strings.Contains(text, "sets at https://h:9200") || !strings.Contains(text, "restored settings of flow control at elasticsearch:9201 of namespace squall") {
		t.Errorf("%s", text)
	}
}

// TestBlockIsPlanned: any Elasticsearch can be made read-only for a time. No flow control is asked of it, and nothing proves the step but checks.
func TestBlockIsPlanned(t *testing.T) {
	p, err := buildFor(withFlow(t, `{flowControl: {service: elasticsearch-node, settings: {cluster.blocks.read_only_allow_delete: true}, for: 2s}}`, anyCheck), "../../fixtures", true)
	if err != nil {
		t.Fatal(err)
	}
	got, judged := p.Phases[1].Settings, p.Spec.Phases[1]
	if len(got) != 1 || !got[0].Block || got[0].For != 2*time.Second || !strings.HasSuffix(got[0].String(), "cluster.blocks.read_only_allow_delete: true (persistent) for 2s") {
		t.Errorf("set: %+v", got)
	}
	if len(p.Flow) != 0 || len(judged.Proofs) != 0 || len(judged.Unproven) != 1 || !strings.Contains(judged.Unproven[0], "records().waited") {
		t.Errorf("asked: %+v; proofs %+v; unproven %v", p.Flow, judged.Proofs, judged.Unproven)
	}
}
