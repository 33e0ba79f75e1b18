package rules_test

import (
	"fmt"
	"strings"
	"testing"

	"squall/internal/rules"
)

// placed are three pods of shop: two in beijing, of which one is of another subzone, and one in shanghai.
func placed(t testing.TB, policy string) *rules.Model {
	t.Helper()
	text := "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {selector: {app: shop}, ports: [{name: http, port: 80}]}\n"
	for _, at := range []string{"a north.beijing.a", "b north.beijing.b", "c east.shanghai"} {
		name, place, _ := strings.Cut(at, " ")
		text += "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + "}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: shop, v: " + name +
			"}}\n  template:\n    metadata: {labels: {app: shop, v: " + name + ", topology.istio.io/locality: " + place + "}}\n    spec: {containers: [{name: x, image: x}]}\n"
	}
	if policy != "" {
		text += "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: shop}\nspec: {host: shop, trafficPolicy: " + policy + "}\n"
	}
	return rules.Read(objects(t, text), rules.Options{})
}

func TestSpread(t *testing.T) {
	from := func(place string) rules.Caller {
		c := rules.Caller{Namespace: "squall", Labels: map[string]string{"app": "x"}, Proxy: rules.Sidecar}
		if place != "" {
			c.Labels["istio-locality"] = place
		}
		return c
	}
	const outlier = ", outlierDetection: {consecutive5xxErrors: 5}"
	lb := func(setting string) string { return "{loadBalancer: {localityLbSetting: {" + setting + "}}}" }
	ejecting := func(setting string) string {
		return "{loadBalancer: {localityLbSetting: {" + setting + "}}" + outlier + "}"
	}
	for _, tc := range []struct {
		name, policy string
		from         rules.Caller
		want         string // groups, or the end of why they are not known
	}{
		{"no rule", "", from("north.beijing.a"), "abc 1.00"},
		{"by weight, divided by pods", lb("distribute: [{from: north/*, to: {north/*: 80, east/*: 20}}]"), from("north.beijing.a"), "c 0.20 a 0.40 b 0.40"},
		{"of the first entry that fits", lb("distribute: [{from: east/*, to: {east/*: 100}}, {from: north/beijing, to: {north/beijing/b: 100}}, {from: '*', to: {east/*: 100}}]"), from("north.beijing.a"), "b 1.00"},
		{"no entry fits", lb("distribute: [{from: west/*, to: {east/*: 100}}]"), from("north.beijing.a"), "abc 1.00"},
		{"what has no pods counts nothing", lb("distribute: [{from: '*', to: {west/*: 90, east/*: 10}}]"), from("north.beijing.a"), "c 1.00"},
		{"nowhere", lb("distribute: [{from: '*', to: {west/*: 100}}]"), from("north.beijing.a"), ""},
		{"two weights for one place", lb("distribute: [{from: '*', to: {north/*: 50, north/beijing/*: 50}}]"), from("north"), "Istio takes any of them"},
		{"a caller that says nothing", lb("distribute: [{from: '*', to: {north/*: 100}}]"), from(""), "where their node is"},
		{"switched off", lb("enabled: false, distribute: [{from: '*', to: {north/*: 100}}]"), from("north"), "abc 1.00"},
		{"a failover without ejection", lb("failover: [{from: north, to: east}]"), from("north.beijing.a"), "abc 1.00"},
		{"the nearest, by ejection alone", "{outlierDetection: {consecutive5xxErrors: 5}}", from("north.beijing.b"), "b 1.00"},
		{"the nearest is the zone", "{outlierDetection: {consecutive5xxErrors: 5}}", from("north.beijing.x"), "ab 1.00"},
		{"none is near", "{outlierDetection: {consecutive5xxErrors: 5}}", from("west"), "abc 1.00"},
		{"the region that it fails over to", ejecting("failover: [{from: west, to: east}]"), from("west"), "c 1.00"},
		{"switched off beside ejection", ejecting("enabled: false"), from("north.beijing.b"), "abc 1.00"},
		{"by labels", ejecting("failoverPriority: [app]"), from("north"), "prefers pods by their labels"},
		{"a caller that says nothing, of pods that do", "{outlierDetection: {consecutive5xxErrors: 5}}", from(""), "where their node is"},
		{"without a proxy", lb("distribute: [{from: '*', to: {north/*: 100}}]"), rules.Caller{Namespace: "squall"}, "abc 1.00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := placed(t, tc.policy).Cluster(tc.from, rules.Destination{Host: "shop", Port: 80}).Spread(tc.from)
			var got []string
			for _, g := range s.Groups {
				names := ""
				for _, w := range g.Workloads {
					names += w.Name
				}
				got = append(got, fmt.Sprintf("%s %.2f", names, g.Share))
			}
			text := strings.Join(got, " ")
			if s.Unknown != "" {
				text = s.Unknown
			}
			if text != tc.want && (s.Unknown == "" || !strings.HasSuffix(text, tc.want)) {
				t.Errorf("got %q, want %q", text, tc.want)
			}
		})
	}
}
