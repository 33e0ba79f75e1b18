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
	m := rules.Read(append(slices.Clone(b.objects), ingress()), rules.Options{})
	got := foretell(m, ph, b.ejected)
	b.ejected = append(b.ejected, got.Ejects...)
	if ph.ApplyAt > 0 {
		judged.Unpredicted = append(judged.Unpredicted, "the rules change under the load")
		return
	}
	if len(b.surprises) > 0 {
		judged.Unpredicted = append(judged.Unpredicted, b.surprises...)
		return
	}
	if err := measurable(got.Items, m, b.services, judged); err != nil {
		b.errs = append(b.errs, err)
	}
	judged.Unpredicted = append(judged.Unpredicted, got.Unpredicted...)
}

// measurable adds the predictions that can be measured. Those of services in other namespaces, which checks cannot name, cannot; any
// other is a mistake of the oracle's.
func measurable(items []check.Prediction, m *rules.Model, services []string, judged *check.PhaseSpec) error {
	all := slices.Clone(services)
	for _, s := range m.Services {
		all = append(all, s.Name)
	}
	for _, p := range items {
		err := check.CheckPrediction(p, services)
		if err == nil {
			judged.Predictions = append(judged.Predictions, p)
			continue
		}
		if bug := check.CheckPrediction(p, all); bug != nil {
			return fmt.Errorf("predict %s for the phase %s, which is a bug of squall: %w", p.Measure, judged.Name, bug)
		}
		judged.Unpredicted = append(judged.Unpredicted, fmt.Sprintf("%s, which cannot be measured: %v", p.Measure, err))
	}
	return nil
}

// foretell asks the oracle about the phase's load, with the mesh as the phase has it. ejected are hosts of which earlier phases may have
// ejected pods.
func foretell(m *rules.Model, ph Phase, ejected []string) oracle.Prediction {
	r := oracle.Request{
		URL: ph.Load.URL, Method: ph.Load.Method, Connections: ph.Load.Connections, Headers: map[string]string{},
		GRPC: ph.Load.Protocol == load.GRPC, Timeout: cmp.Or(ph.Load.Timeout, load.DefaultTimeout), Ejected: ejected,
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
