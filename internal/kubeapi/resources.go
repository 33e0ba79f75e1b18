package kubeapi

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"squall/internal/gatewayapi"
)

// Resource is one kind that the API serves. Every version of a resource reads and writes the same objects: only
// apiVersion differs between them.
type Resource struct {
	Group string
	// Versions are the served versions. The first is the preferred one, and the one objects are stored in.
	Versions []string
	// Plural is the name in the path, Singular and ShortNames are what kubectl accepts beside it.
	Plural, Singular, Kind string
	ShortNames, Categories []string
	ClusterScoped          bool
	// Status says that the status is a subresource: a write of the object leaves it as it was, and a write of /status
	// changes nothing else.
	Status bool
	// KeepStatus lets a create set the status although it is a subresource, as Kubernetes does for nodes.
	KeepStatus bool
	// Scale says that there is a /scale subresource over spec.replicas.
	Scale bool
	// Generation says that metadata.generation counts the changes of everything but metadata and status.
	Generation bool
	// Fields are the paths that a field selector may name, beside metadata.name and metadata.namespace.
	Fields []string
	// Columns are what kubectl get prints after the name, for kinds without columns of their own in this package.
	Columns []Column
	// Custom says that a CustomResourceDefinition has the kind: an update of one has to name the revision that it is made from.
	Custom bool
	// CreateOnly marks a review: it is answered and never stored.
	CreateOnly bool
}

// Column is one column of kubectl get, read from a dotted path in the object.
type Column struct {
	Name, Path string
	// Date prints a time as an age.
	Date bool
}

func (r *Resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Plural}
}

func (r *Resource) groupKind() schema.GroupKind {
	return schema.GroupKind{Group: r.Group, Kind: r.Kind}
}

func (r *Resource) gvk(version string) schema.GroupVersionKind {
	return r.groupKind().WithVersion(version)
}

func (r *Resource) storageVersion() string { return r.Versions[0] }

func (r *Resource) serves(version string) bool { return slices.Contains(r.Versions, version) }

// subresources are the subresources that r has.
func (r *Resource) subresources() []string {
	var out []string
	if r.Scale {
		out = append(out, "scale")
	}
	if r.Status {
		out = append(out, "status")
	}
	return out
}

// hasSubresource says whether r has that subresource; the object itself is "".
func (r *Resource) hasSubresource(name string) bool {
	return name == "" || slices.Contains(r.subresources(), name)
}

// DefaultResources is the table of what a Server serves when its Options name nothing else.
func DefaultResources() []Resource {
	return slices.Concat(coreResources(), workloadResources(), clusterResources(), istioResources())
}

// gatewayResources is what a mesh of sidecars honours of the Gateway API. A Gateway or a GatewayClass would have to be made true by a
// controller that nobody runs here.
func gatewayResources() []Resource {
	age := Column{Name: "Age", Path: "metadata.creationTimestamp", Date: true}
	kind := func(versions []string, kind, plural, singular string, columns ...Column) Resource {
		return Resource{Group: gatewayapi.Group, Versions: versions, Kind: kind, Plural: plural, Singular: singular,
			Categories: []string{"gateway-api"}, Generation: true, Columns: append(columns, age)}
	}
	hostnames := Column{Name: "Hostnames", Path: "spec.hostnames"}
	out := []Resource{
		kind([]string{"v1", "v1beta1"}, "HTTPRoute", "httproutes", "httproute", hostnames),
		kind([]string{"v1"}, "GRPCRoute", "grpcroutes", "grpcroute", hostnames),
		kind([]string{"v1", "v1beta1"}, "ReferenceGrant", "referencegrants", "referencegrant"),
	}
	out[0].Status, out[1].Status = true, true
	out[2].ShortNames = []string{"refgrant"}
	return out
}

func coreResources() []Resource {
	v1 := []string{"v1"}
	all := []string{"all"}
	return []Resource{
		{Versions: v1, Plural: "namespaces", Singular: "namespace", Kind: "Namespace", ShortNames: []string{"ns"},
			ClusterScoped: true, Status: true, Fields: []string{"status.phase"}},
		{Versions: v1, Plural: "pods", Singular: "pod", Kind: "Pod", ShortNames: []string{"po"}, Categories: all,
			Status: true, Generation: true, Fields: []string{"spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
				"spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"}},
		{Versions: v1, Plural: "services", Singular: "service", Kind: "Service", ShortNames: []string{"svc"}, Categories: all,
			Status: true, Fields: []string{"spec.clusterIP", "spec.type"}},
		{Versions: v1, Plural: "serviceaccounts", Singular: "serviceaccount", Kind: "ServiceAccount", ShortNames: []string{"sa"}},
		{Versions: v1, Plural: "configmaps", Singular: "configmap", Kind: "ConfigMap", ShortNames: []string{"cm"}},
		{Versions: v1, Plural: "secrets", Singular: "secret", Kind: "Secret", Fields: []string{"type"}},
		{Versions: v1, Plural: "nodes", Singular: "node", Kind: "Node", ShortNames: []string{"no"}, ClusterScoped: true,
			Status: true, KeepStatus: true, Fields: []string{"spec.unschedulable"}},
		{Versions: v1, Plural: "events", Singular: "event", Kind: "Event", ShortNames: []string{"ev"}, Fields: []string{
			"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
			"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
			"reason", "reportingComponent", "source", "type"}},
		{Versions: v1, Plural: "endpoints", Singular: "endpoints", Kind: "Endpoints", ShortNames: []string{"ep"}},
	}
}

func workloadResources() []Resource {
	v1 := []string{"v1"}
	all := []string{"all"}
	return []Resource{
		{Group: "apps", Versions: v1, Plural: "deployments", Singular: "deployment", Kind: "Deployment",
			ShortNames: []string{"deploy"}, Categories: all, Status: true, Scale: true, Generation: true},
		{Group: "apps", Versions: v1, Plural: "replicasets", Singular: "replicaset", Kind: "ReplicaSet",
			ShortNames: []string{"rs"}, Categories: all, Status: true, Scale: true, Generation: true},
		{Group: "apps", Versions: v1, Plural: "statefulsets", Singular: "statefulset", Kind: "StatefulSet",
			ShortNames: []string{"sts"}, Categories: all, Status: true, Scale: true, Generation: true},
		{Group: "apps", Versions: v1, Plural: "daemonsets", Singular: "daemonset", Kind: "DaemonSet",
			ShortNames: []string{"ds"}, Categories: all, Status: true, Generation: true},
		{Group: "batch", Versions: v1, Plural: "jobs", Singular: "job", Kind: "Job", Categories: all, Status: true, Generation: true},
	}
}

func clusterResources() []Resource {
	v1 := []string{"v1"}
	const apiExt, admission, auth = "apiextensions.k8s.io", "admissionregistration.k8s.io", "authorization.k8s.io"
	return []Resource{
		{Group: "discovery.k8s.io", Versions: v1, Plural: "endpointslices", Singular: "endpointslice", Kind: "EndpointSlice", Generation: true},
		{Group: "networking.k8s.io", Versions: v1, Plural: "ingresses", Singular: "ingress", Kind: "Ingress",
			ShortNames: []string{"ing"}, Status: true, Generation: true},
		{Group: "networking.k8s.io", Versions: v1, Plural: "ingressclasses", Singular: "ingressclass", Kind: "IngressClass",
			ClusterScoped: true, Generation: true},
		{Group: "networking.k8s.io", Versions: v1, Plural: "networkpolicies", Singular: "networkpolicy", Kind: "NetworkPolicy",
			ShortNames: []string{"netpol"}, Generation: true},
		{Group: "coordination.k8s.io", Versions: v1, Plural: "leases", Singular: "lease", Kind: "Lease"},
		{Group: apiExt, Versions: v1, Plural: "customresourcedefinitions", Singular: "customresourcedefinition",
			Kind: "CustomResourceDefinition", ShortNames: []string{"crd", "crds"}, ClusterScoped: true, Status: true, Generation: true},
		{Group: admission, Versions: v1, Plural: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration",
			Kind: "MutatingWebhookConfiguration", ClusterScoped: true, Generation: true},
		{Group: admission, Versions: v1, Plural: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration",
			Kind: "ValidatingWebhookConfiguration", ClusterScoped: true, Generation: true},
		{Group: auth, Versions: v1, Plural: "subjectaccessreviews", Singular: "subjectaccessreview",
			Kind: "SubjectAccessReview", ClusterScoped: true, CreateOnly: true},
		{Group: auth, Versions: v1, Plural: "selfsubjectaccessreviews", Singular: "selfsubjectaccessreview",
			Kind: "SelfSubjectAccessReview", ClusterScoped: true, CreateOnly: true},
		{Group: auth, Versions: v1, Plural: "selfsubjectrulesreviews", Singular: "selfsubjectrulesreview",
			Kind: "SelfSubjectRulesReview", ClusterScoped: true, CreateOnly: true},
	}
}

func istioResources() []Resource {
	const networking, security, extensions, telemetry = "networking", "security", "extensions", "telemetry"
	three, two := []string{"v1", "v1alpha3", "v1beta1"}, []string{"v1", "v1beta1"}
	age := Column{Name: "Age", Path: "metadata.creationTimestamp", Date: true}
	col := func(name, path string) Column { return Column{Name: name, Path: path} }
	kind := func(group string, versions []string, kind, plural, singular, short string, columns ...Column) Resource {
		r := Resource{Group: group + ".istio.io", Versions: versions, Kind: kind, Plural: plural, Singular: singular,
			Categories: []string{"istio-io", group + "-istio-io"}, Status: true, Generation: true, Custom: true, Columns: columns}
		if short != "" {
			r.ShortNames = []string{short}
		}
		return r
	}
	return []Resource{
		kind(networking, three, "DestinationRule", "destinationrules", "destinationrule", "dr", col("Host", "spec.host"), age),
		kind(networking, []string{"v1alpha3"}, "EnvoyFilter", "envoyfilters", "envoyfilter", "", age),
		kind(networking, three, "Gateway", "gateways", "gateway", "gw", age),
		kind(networking, []string{"v1beta1"}, "ProxyConfig", "proxyconfigs", "proxyconfig", "", age),
		kind(networking, three, "ServiceEntry", "serviceentries", "serviceentry", "se", col("Hosts", "spec.hosts"),
			col("Location", "spec.location"), col("Resolution", "spec.resolution"), age),
		kind(networking, three, "Sidecar", "sidecars", "sidecar", "", age),
		kind(networking, three, "VirtualService", "virtualservices", "virtualservice", "vs",
			col("Gateways", "spec.gateways"), col("Hosts", "spec.hosts"), age),
		kind(networking, three, "WorkloadEntry", "workloadentries", "workloadentry", "we", age, col("Address", "spec.address")),
		kind(networking, three, "WorkloadGroup", "workloadgroups", "workloadgroup", "wg", age),
		kind(security, two, "AuthorizationPolicy", "authorizationpolicies", "authorizationpolicy", "ap", col("Action", "spec.action"), age),
		kind(security, two, "PeerAuthentication", "peerauthentications", "peerauthentication", "pa", col("Mode", "spec.mtls.mode"), age),
		kind(security, two, "RequestAuthentication", "requestauthentications", "requestauthentication", "ra", age),
		kind(telemetry, []string{"v1", "v1alpha1"}, "Telemetry", "telemetries", "telemetry", "telemetry", age),
		kind(extensions, []string{"v1alpha1"}, "WasmPlugin", "wasmplugins", "wasmplugin", "", age),
		kind(extensions, []string{"v1alpha1"}, "TrafficExtension", "trafficextensions", "trafficextension", "", age),
	}
}
