package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// newPod makes a pod of a Deployment's template. It reads what the kubelet watches, and starts and writes nothing. A *missingError
// is an object that may still come.
func (k *kubelet) newPod(d *appsv1.Deployment, hash string) (*pod, error) {
	if err := k.unhonoured(d); err != nil {
		return nil, err
	}
	ns, err := k.namespaces.Get(d.Namespace)
	if err != nil {
		return nil, missing("namespace "+d.Namespace, err)
	}
	p := &pod{owner: d.Name, hash: hash, ended: make(chan struct{})}
	p.object = k.podObject(d, ns, p.hash)
	account := p.object.Spec.ServiceAccountName
	if _, err := k.accounts.ServiceAccounts(d.Namespace).Get(account); err != nil {
		return nil, missing("service account "+account, err)
	}
	p.program = k.mesh.programOf(p.container())
	p.program.Builtin = p.program.Builtin || p.isGateway()
	if p.ip, p.calls, err = k.mesh.block.nextPod(); err != nil {
		return nil, err
	}
	p.dir = filepath.Join(k.mesh.opts.Dir, p.object.Name)
	p.hosts.path = p.dir + ".hosts"
	if err := k.environment(p); err != nil {
		k.mesh.block.nPods-- // the address was not used
		return nil, err
	}
	k.counter[d.Name]++
	return p, nil
}

// unhonoured says what of a Deployment the local mesh cannot honour: objects come from kubectl too, not only from checked manifests.
func (k *kubelet) unhonoured(d *appsv1.Deployment) error {
	d = d.DeepCopy()
	d.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	var o map[string]any
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	var errs []error
	for _, p := range Check([]map[string]any{o}, k.mesh.facts) {
		errs = append(errs, fmt.Errorf("%s: %s (%s)", p.Path, p.What, p.Hint))
	}
	return errors.Join(errs...)
}

func missing(what string, err error) error {
	if apierrors.IsNotFound(err) {
		return &missingError{what: what}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (k *kubelet) podObject(d *appsv1.Deployment, ns *corev1.Namespace, hash string) *corev1.Pod {
	name := fmt.Sprintf("%s-%d", d.Name, k.counter[d.Name])
	template := d.Spec.Template.DeepCopy()
	l := cloneLabels(template.Labels)
	l[podLabel], l["pod-template-hash"] = name, hash
	if !isGateway(&template.ObjectMeta) && injected(template, ns) {
		l[mesh.TLSModeLabel] = "istio"
	}
	controller := true
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: d.Namespace, Labels: l, Annotations: template.Annotations, Finalizers: []string{podLabel},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: &controller}},
		},
		Spec: template.Spec,
	}
	o.Spec.NodeName = nodeName
	if o.Spec.ServiceAccountName == "" {
		o.Spec.ServiceAccountName = o.Spec.DeprecatedServiceAccount
	}
	if o.Spec.ServiceAccountName == "" {
		o.Spec.ServiceAccountName = "default"
	}
	return o
}

// injected reports whether the pod gets a sidecar, by the annotation and label that Istio's injector reads.
func injected(template *corev1.PodTemplateSpec, namespace *corev1.Namespace) bool {
	for _, v := range []string{template.Labels["sidecar.istio.io/inject"], template.Annotations["sidecar.istio.io/inject"]} {
		if v != "" {
			return v == "true"
		}
	}
	return namespace != nil && namespace.Labels["istio-injection"] == "enabled"
}
