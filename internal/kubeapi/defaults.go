package kubeapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"squall/internal/fields"
)

// seed stores what a new server holds.
func (s *Server) seed(crds map[string]json.RawMessage) error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.rv = 1
	for _, name := range []string{"default", "kube-system", "kube-public"} {
		if t := s.store.tables[namespaceResource()]; t != nil {
			s.afterCreate(s.store.put(t, s.plain(t.res, objectKey{name: name})))
		}
	}
	for i := range s.resources {
		r := &s.resources[i]
		if r.Kind != "CustomResourceDefinition" {
			continue
		}
		objects, err := crdObjects(crds, timestamp(s.now()))
		if err != nil {
			return err
		}
		for _, data := range objects {
			o := s.plain(r, objectKey{name: text(data, "metadata", "name")})
			for _, k := range []string{"labels", "annotations"} {
				if v := lookup(data, "metadata", k); v != nil {
					fields.Child(o, "metadata")[k] = v
				}
			}
			o["spec"], o["status"] = data["spec"], data["status"]
			s.store.put(s.store.tables[r.groupResource()], o)
		}
	}
	return nil
}

// plain is a new object that the server itself makes.
func (s *Server) plain(r *Resource, key objectKey) map[string]any {
	meta := map[string]any{"name": key.name, "uid": newUID(), "creationTimestamp": timestamp(s.now())}
	if key.namespace != "" {
		meta["namespace"] = key.namespace
	}
	if r.Generation {
		meta["generation"] = int64(1)
	}
	data := map[string]any{"metadata": meta}
	if r.groupResource() == namespaceResource() {
		fillNamespace(data)
	}
	return data
}

// afterCreate makes what comes with an object: the default service account of a namespace.
func (s *Server) afterCreate(o *object) {
	if o.res.groupResource() != namespaceResource() {
		return
	}
	for _, t := range s.store.tables {
		if t.res.Kind == "ServiceAccount" && t.res.Group == "" {
			s.store.put(t, s.plain(t.res, objectKey{namespace: o.key.name, name: "default"}))
		}
	}
}

// fill sets what Kubernetes sets and people rely on. live is the stored object, nil for a new one.
func (s *Server) fill(r *Resource, data map[string]any, live *object) error {
	switch r.groupResource().String() {
	case "namespaces":
		fillNamespace(data)
	case "services":
		return s.fillService(r, data, live)
	case "pods":
		fillPodSpec(fields.Child(data, "spec"))
		setDefault(fields.Child(data, "spec"), "serviceAccountName", "default")
		setDefault(fields.Child(data, "status"), "phase", "Pending")
	case "deployments.apps":
		fillDeployment(fields.Child(data, "spec"))
	case "replicasets.apps", "statefulsets.apps":
		setDefault(fields.Child(data, "spec"), "replicas", int64(1))
		fillTemplate(fields.Child(data, "spec"))
	case "daemonsets.apps", "jobs.batch":
		fillTemplate(fields.Child(data, "spec"))
	case "secrets":
		setDefault(data, "type", "Opaque")
		encodeStringData(data)
	default:
		if s.schemas.isCustom(r) {
			s.schemas.setDefaults(s.schemas.of(r), data)
		}
	}
	return nil
}

func fillNamespace(data map[string]any) {
	meta := fields.Child(data, "metadata")
	fields.Child(meta, "labels")["kubernetes.io/metadata.name"] = meta["name"]
	setDefault(fields.Child(data, "status"), "phase", "Active")
}

func fillDeployment(spec map[string]any) {
	setDefault(spec, "replicas", int64(1))
	setDefault(spec, "revisionHistoryLimit", int64(10))
	setDefault(spec, "progressDeadlineSeconds", int64(600))
	strategy := fields.Child(spec, "strategy")
	setDefault(strategy, "type", "RollingUpdate")
	if strategy["type"] == "RollingUpdate" {
		setDefault(fields.Child(strategy, "rollingUpdate"), "maxSurge", "25%")
		setDefault(fields.Child(strategy, "rollingUpdate"), "maxUnavailable", "25%")
	}
	fillTemplate(spec)
}

func fillTemplate(spec map[string]any) {
	if template, ok := spec["template"].(map[string]any); ok {
		fillPodSpec(fields.Child(template, "spec"))
	}
}

func fillPodSpec(spec map[string]any) {
	setDefault(spec, "restartPolicy", "Always")
	setDefault(spec, "dnsPolicy", "ClusterFirst")
	setDefault(spec, "terminationGracePeriodSeconds", int64(30))
	for _, key := range []string{"containers", "initContainers"} {
		for _, c := range mapsOf(list(spec, key)) {
			for _, p := range mapsOf(list(c, "ports")) {
				setDefault(p, "protocol", "TCP")
			}
			for _, name := range []string{"readinessProbe", "livenessProbe", "startupProbe"} {
				if p, ok := c[name].(map[string]any); ok {
					fillProbe(p)
				}
			}
		}
	}
}

func fillProbe(p map[string]any) {
	setDefault(p, "periodSeconds", int64(10))
	setDefault(p, "timeoutSeconds", int64(1))
	setDefault(p, "successThreshold", int64(1))
	setDefault(p, "failureThreshold", int64(3))
	if get, ok := p["httpGet"].(map[string]any); ok {
		setDefault(get, "scheme", "HTTP")
		setDefault(get, "path", "/")
	}
}

func newUID() string { return string(uuid.NewUUID()) }

// encodeStringData moves a Secret's stringData into its data.
func encodeStringData(data map[string]any) {
	plain, ok := data["stringData"].(map[string]any)
	if !ok {
		return
	}
	delete(data, "stringData")
	for k, v := range plain {
		fields.Child(data, "data")[k] = base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(v)))
	}
}

// fillService sets the defaults of a Service and gives it its cluster IP.
func (s *Server) fillService(r *Resource, data map[string]any, live *object) error {
	spec := fields.Child(data, "spec")
	setDefault(spec, "type", "ClusterIP")
	setDefault(spec, "sessionAffinity", "None")
	for _, p := range mapsOf(list(spec, "ports")) {
		setDefault(p, "protocol", "TCP")
		setDefault(p, "targetPort", p["port"])
	}
	if spec["type"] == "ExternalName" {
		return nil
	}
	setDefault(spec, "internalTrafficPolicy", "Cluster")
	setDefault(spec, "ipFamilyPolicy", "SingleStack")
	setDefault(spec, "ipFamilies", []any{"IPv4"})
	if live != nil && text(live.data, "spec", "clusterIP") != "" {
		setDefault(spec, "clusterIP", text(live.data, "spec", "clusterIP"))
	}
	ip, err := s.clusterIP(r, text(data, "metadata", "name"), text(spec, "clusterIP"), live)
	if err != nil {
		return err
	}
	spec["clusterIP"], spec["clusterIPs"] = ip, []any{ip}
	return nil
}

// clusterIP checks the address that a Service asks for, or finds it one.
func (s *Server) clusterIP(r *Resource, name, asked string, live *object) (string, error) {
	if asked == "None" || live != nil && asked != "" && asked == text(live.data, "spec", "clusterIP") {
		return asked, nil
	}
	invalid := func(detail string) error {
		return errors.NewInvalid(r.groupKind(), name, field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIPs").Index(0), asked, detail)})
	}
	used := map[string]bool{}
	for _, o := range s.store.tables[r.groupResource()].objects {
		used[text(o.data, "spec", "clusterIP")] = true
	}
	if asked != "" {
		ip, err := netip.ParseAddr(asked)
		switch {
		case err != nil:
			return "", invalid("must be a valid IP address or \"None\"")
		case !s.cidr.Contains(ip):
			return "", invalid(fmt.Sprintf("the provided IP is not in the valid range %s", s.cidr))
		case used[asked]:
			return "", invalid("provided IP is already allocated")
		}
		return asked, nil
	}
	for ip := s.cidr.Addr().Next(); s.cidr.Contains(ip) && s.cidr.Contains(ip.Next()); ip = ip.Next() {
		if !used[ip.String()] {
			return ip.String(), nil
		}
	}
	return "", errors.NewInternalError(fmt.Errorf("allocate a cluster IP: %s is full: delete Services or give the server a larger range", s.cidr))
}
