package rules

import (
	"fmt"
	"strings"

	v1 "istio.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Service is what requests can be sent to: a Service, or one host of a ServiceEntry.
type Service struct {
	Ref       Ref
	Host      string // full name
	Namespace string
	Name      string // of the Service; for a ServiceEntry the host
	Ports     []Port
	Workloads []*Workload
	// Unknown is why the workloads are not known, or "".
	Unknown string
}

// Port is a port of a service.
type Port struct {
	Ref    Ref
	Number int
	Name   string
	// Target is the port of the pods, 0 when it is a name or is not known.
	Target int
	// Protocol is as Istio reads it from appProtocol or the name, in lower case: http, http2, grpc, https, tcp…; "" is detected by sniffing.
	Protocol string
}

// HTTP says whether HTTP rules hold for the port: Unknown when the proxy sniffs the protocol.
func (p Port) HTTP() Truth {
	switch p.Protocol {
	case "":
		return Unknown
	case "http", "http2", "grpc", "grpc-web", "http-proxy":
		return Yes
	}
	return No
}

// Workload is a set of equal pods.
type Workload struct {
	Ref            Ref
	Namespace      string
	Name           string
	Labels         map[string]string
	Annotations    map[string]string
	Replicas       int
	ServiceAccount string
	// Sidecar says whether the pods have a proxy. Without an object for the namespace, it is taken to inject.
	Sidecar bool
}

// Version is the label version, or "".
func (w *Workload) Version() string { return w.Labels["version"] }

// Principal is the identity that the workload's proxy shows.
func (w *Workload) Principal() string {
	return "cluster.local/ns/" + w.Namespace + "/sa/" + w.ServiceAccount
}

// Service finds a service by the name that a caller in the namespace gives it: short, with namespace, or full.
func (m *Model) Service(name, namespace string) *Service {
	full := strings.TrimSuffix(strings.TrimSuffix(name, domain), ".svc")
	short, ns, dotted := strings.Cut(full, ".")
	if !dotted {
		ns = namespace
	}
	for _, s := range m.Services {
		if s.Host == name || s.Name == short && s.Namespace == ns && s.Ref.Object.GetKind() == "Service" {
			return s
		}
	}
	for _, s := range m.Services {
		if covers(s.Host, name) {
			return s
		}
	}
	return nil
}

// Port finds a port by its number.
func (s *Service) Port(number int) (Port, bool) {
	for _, p := range s.Ports {
		if p.Number == number {
			return p, true
		}
	}
	return Port{}, false
}

// Pods is how many pods the workloads have.
func Pods(workloads []*Workload) int {
	n := 0
	for _, w := range workloads {
		n += w.Replicas
	}
	return n
}

func (m *Model) service(u *unstructured.Unstructured) *Service {
	s := &Service{Ref: Ref{u, "spec"}, Name: u.GetName(), Namespace: u.GetNamespace()}
	s.Host = s.Name + "." + s.Namespace + domain
	ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
	for i, raw := range ports {
		p, ok := raw.(map[string]any)
		if !ok {
			continue
		}
		port := Port{Ref: s.Ref.At(".ports[%d]", i), Number: number(p["port"]), Target: number(p["targetPort"])}
		port.Name, _ = p["name"].(string)
		app, _ := p["appProtocol"].(string)
		transport, _ := p["protocol"].(string)
		port.Protocol = protocol(port.Name, app, transport, port.Number)
		if p["targetPort"] == nil {
			port.Target = port.Number
		}
		s.Ports = append(s.Ports, port)
	}
	selector, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector")
	if len(selector) == 0 {
		s.Unknown = "the Service " + s.Name + " has no selector"
		return s
	}
	for _, w := range m.Workloads {
		if w.Namespace == s.Namespace && w.Replicas > 0 && includes(w.Labels, selector) {
			s.Workloads = append(s.Workloads, w)
		}
	}
	return s
}

func (m *Model) entry(u *unstructured.Unstructured) error {
	spec := new(v1.ServiceEntry)
	if err := decode(u, spec); err != nil {
		return err
	}
	for _, h := range spec.GetHosts() {
		s := &Service{Ref: Ref{u, "spec"}, Host: h, Name: h, Namespace: u.GetNamespace()}
		for i, p := range spec.GetPorts() {
			port := Port{Ref: s.Ref.At(".ports[%d]", i), Number: int(p.GetNumber()), Name: p.GetName()}
			port.Protocol, port.Target = strings.ToLower(p.GetProtocol()), int(p.GetTargetPort())
			s.Ports = append(s.Ports, port)
		}
		s.Unknown = "the ServiceEntry " + u.GetName() + " does not say which pods serve " + h
		m.Services = append(m.Services, s)
	}
	return nil
}

// protocol is Istio's reading of a port: appProtocol, else the name up to the first dash, else a port that is known to speak first.
func protocol(name, app, transport string, number int) string {
	if transport != "" && transport != "TCP" {
		return strings.ToLower(transport)
	}
	switch app {
	case "":
		app, _, _ = strings.Cut(name, "-")
		if strings.HasPrefix(name, "grpc-web") {
			app = "grpc-web"
		}
	case "kubernetes.io/h2c":
		return "http2"
	}
	switch p := strings.ToLower(app); p {
	case "http", "http2", "grpc", "grpc-web", "https", "tls", "tcp", "udp", "mongo", "mysql", "redis", "hbone":
		return p
	}
	switch number {
	case 25, 53, 3306, 27017:
		return "tcp"
	}
	return ""
}

// workload adds the pods that a Deployment or its like makes, or one Pod.
func (m *Model) workload(u *unstructured.Unstructured, injected map[string]bool) {
	w := &Workload{Ref: Ref{u, "spec.template"}, Namespace: u.GetNamespace(), Name: u.GetName(), Replicas: 1}
	template := u.Object
	switch u.GetKind() {
	case "Deployment", "StatefulSet", "ReplicaSet", "DaemonSet":
		template, _, _ = unstructured.NestedMap(u.Object, "spec", "template")
		if n, found, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "replicas"); found {
			w.Replicas = number(n)
		}
	case "Pod":
		w.Ref.Path = ""
	default:
		return
	}
	w.Labels, _, _ = unstructured.NestedStringMap(template, "metadata", "labels")
	w.Annotations, _, _ = unstructured.NestedStringMap(template, "metadata", "annotations")
	w.ServiceAccount, _, _ = unstructured.NestedString(template, "spec", "serviceAccountName")
	if w.ServiceAccount == "" {
		w.ServiceAccount = "default"
	}
	on, known := injected[w.Namespace]
	w.Sidecar = on || !known
	for _, v := range []string{w.Annotations["sidecar.istio.io/inject"], w.Labels["sidecar.istio.io/inject"]} {
		if v != "" {
			w.Sidecar = v == "true"
		}
	}
	m.Workloads = append(m.Workloads, w)
}

// injection says of each Namespace that is among the objects whether it injects sidecars.
func injection(objects []*unstructured.Unstructured) map[string]bool {
	out := map[string]bool{}
	for _, u := range objects {
		if u.GetKind() == "Namespace" && u.GroupVersionKind().Group == "" {
			l := u.GetLabels()
			out[u.GetName()] = l["istio-injection"] == "enabled" || l["istio.io/rev"] != "" && l["istio-injection"] == ""
		}
	}
	return out
}

// number reads a whole number as JSON, YAML or text has it; 0 is none.
func number(v any) int {
	switch n := v.(type) {
	case int64:
		return int(n)
	case int:
		return n
	case float64:
		return int(n)
	case string:
		var out int
		if _, err := fmt.Sscanf(n, "%d", &out); err == nil && fmt.Sprint(out) == n {
			return out
		}
	}
	return 0
}
