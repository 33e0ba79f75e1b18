package plan

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/mesh"
	"squall/internal/oracle"
	"squall/internal/rules"
)

// predict adds to what a phase is judged by what its rules say that its load will see. A phase whose rules change under its load is in
// no one state.
func (b *builder) predict(ph Phase, judged *check.PhaseSpec) {
	if ph.ApplyAt > 0 {
		judged.Unpredicted = append(judged.Unpredicted, "the rules change under the load")
		return
	}
	got := foretell(b.objects, ph)
	for _, p := range got.Items {
		if err := check.CheckPrediction(p, b.services); err != nil {
			judged.Unpredicted = append(judged.Unpredicted, fmt.Sprintf("%s, which cannot be measured: %v", p.Measure, err))
			continue
		}
		judged.Predictions = append(judged.Predictions, p)
	}
	judged.Unpredicted = append(judged.Unpredicted, got.Unpredicted...)
}

// foretell asks the oracle about the phase's load, with the objects as the phase has them.
func foretell(objects []*unstructured.Unstructured, ph Phase) oracle.Prediction {
	m := rules.Read(append(slices.Clone(objects), ingress()), rules.Options{})
	r := oracle.Request{
		URL: ph.Load.URL, Method: ph.Load.Method, Connections: ph.Load.Connections, Headers: map[string]string{},
		GRPC: ph.Load.Protocol == load.GRPC, Timeout: cmp.Or(ph.Load.Timeout, load.DefaultTimeout),
	}
	for _, w := range m.Workloads {
		if w.Name == ClientName {
			r.Caller = rules.CallerOf(w)
		}
	}
	if ph.Direct {
		r.Caller.Proxy = rules.NoProxy
	}
	for _, h := range ph.Load.Headers {
		r.Headers[h.Name] = h.Value
	}
	if ph.SignIn != nil {
		r.SignIn = ph.SignIn.Form
		if ph.SignIn.Bearer {
			r.Headers["authorization"] = oracle.Token
		}
	}
	if ph.Load.WarmUp == 0 {
		r.Requests = ph.Load.Requests
	}
	return oracle.Predict(m, r)
}

// ingress is the workload of the ingress gateway, as an installation of Istio has it. The load can call it without any object that says
// that it is there.
func ingress() *unstructured.Unstructured {
	labels := map[string]any{}
	for k, v := range mesh.IngressLabels() {
		labels[k] = v
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": mesh.IngressGateway, "namespace": mesh.RootNamespace},
		"spec": map[string]any{"replicas": int64(1), "template": map[string]any{
			"metadata": map[string]any{"labels": labels}, "spec": map[string]any{"serviceAccountName": mesh.IngressGateway},
		}},
	}}
}
