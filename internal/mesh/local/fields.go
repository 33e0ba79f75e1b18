package local

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// kind is what the local mesh makes of one kind of objects.
type kind struct {
	name, apiVersion string
	rules            []rule
	decode           func() any                     // the type of its objects
	istio            func(*checker, map[string]any) // for Istio's own kinds, in place of rules
	refused, hint    string                         // the kind as a whole
}

// kinds is the table of all kinds that the local mesh knows, by group/kind; the core group's are by kind alone.
func kinds() map[string]kind {
	out := map[string]kind{
		"Namespace":                       {name: "Namespace", apiVersion: "v1", rules: namespaceRules(), decode: func() any { return &corev1.Namespace{} }},
		"Service":                         {name: "Service", apiVersion: "v1", rules: serviceRules(), decode: func() any { return &corev1.Service{} }},
		"ServiceAccount":                  {name: "ServiceAccount", apiVersion: "v1", rules: serviceAccountRules(), decode: func() any { return &corev1.ServiceAccount{} }},
		"ConfigMap":                       {name: "ConfigMap", apiVersion: "v1", rules: dataRules(), decode: func() any { return &corev1.ConfigMap{} }},
		"Secret":                          {name: "Secret", apiVersion: "v1", rules: dataRules(), decode: func() any { return &corev1.Secret{} }},
		"apps/Deployment":                 {name: "Deployment", apiVersion: "apps/v1", rules: deploymentRules(), decode: func() any { return &appsv1.Deployment{} }},
		"discovery.k8s.io/EndpointSlice":  {name: "EndpointSlice", apiVersion: "discovery.k8s.io/v1", rules: sliceRules(), decode: func() any { return &discoveryv1.EndpointSlice{} }},
		"networking.istio.io/Gateway":     {name: "Gateway", istio: gateway},
		"networking.istio.io/Sidecar":     {refused: "the local mesh gives each pod a Sidecar of its own, which would win over this one", hint: onCluster},
		"networking.istio.io/ProxyConfig": {refused: "the local mesh starts proxies with a configuration of its own", hint: onCluster},
		"extensions.istio.io/WasmPlugin":  {refused: "the local mesh has no Istio agent to fetch a plugin", hint: onCluster},
	}
	gatewayAPI(out)
	for _, name := range []string{"apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "batch/Job", "batch/CronJob", "Pod", "ReplicationController"} {
		out[name] = kind{refused: "the local mesh runs Deployments only", hint: "write a Deployment, or run on a cluster"}
	}
	for _, name := range []string{"PersistentVolume", "PersistentVolumeClaim", "storage.k8s.io/StorageClass"} {
		out[name] = kind{refused: "the local mesh has no volumes", hint: onCluster}
	}
	out["networking.k8s.io/Ingress"] = kind{refused: "the local mesh has no ingress controller", hint: "write an Istio Gateway and a VirtualService"}
	out["networking.k8s.io/NetworkPolicy"] = kind{refused: "nothing enforces a NetworkPolicy on the local mesh", hint: "write an AuthorizationPolicy"}
	out["Endpoints"] = kind{refused: "the local mesh does not mirror Endpoints", hint: "write an EndpointSlice"}
	return out
}

// commonRules are for the fields that all kinds have.
func commonRules() []rule {
	const server = "the API sets it itself"
	out := []rule{{path: "apiVersion"}, {path: "kind"}, {path: "status", why: "the status says what is, not what should be"}}
	for _, name := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"} {
		out = append(out, rule{path: "metadata." + name, why: server})
	}
	return append(out,
		rule{path: "metadata.name"}, rule{path: "metadata.namespace"}, rule{path: "metadata.labels.*", judge: isString}, rule{path: "metadata.annotations.*", judge: isString},
		rule{path: "metadata.generateName", judge: never("objects are applied by name", "write metadata.name")},
		rule{path: "metadata.finalizers", judge: never("nobody would ever remove the finalizer", "remove it")},
		rule{path: "metadata.ownerReferences", judge: never("the owner's end would not delete the object", "remove it")},
	)
}

const oneRevision = "label the namespace istio-injection: enabled"

func namespaceRules() []rule {
	return []rule{
		{path: "spec.finalizers", why: "a namespace goes with its mesh"},
		{path: `metadata.labels["istio.io/rev"]`, judge: refuse("the local mesh has one istiod without a revision", oneRevision)},
		{path: `metadata.labels["istio.io/dataplane-mode"]`, judge: only(oneRevision, "none")},
	}
}

func serviceRules() []rule {
	const inside = "only the mesh calls services here, at their cluster IP"
	return []rule{
		{path: "spec.selector"}, {path: "spec.ports[].name"}, {path: "spec.ports[].port"}, {path: "spec.ports[].targetPort"},
		{path: "spec.ports[].appProtocol"}, {path: "spec.publishNotReadyAddresses"}, {path: "spec.internalTrafficPolicy"},
		{path: "spec.ports[].protocol", judge: only("the local mesh serves TCP", "TCP")},
		{path: "spec.type", judge: only("make calls to other machines on a cluster", "ClusterIP", "NodePort", "LoadBalancer"), why: "NodePort and LoadBalancer are like ClusterIP: " + inside},
		{path: "spec.clusterIP", judge: noClusterIP}, {path: "spec.clusterIPs[]", judge: noClusterIP},
		{path: "spec.ports[].nodePort", why: inside}, {path: "spec.externalTrafficPolicy", why: inside},
		{path: "spec.loadBalancerIP", why: inside}, {path: "spec.loadBalancerClass", why: inside},
		{path: "spec.loadBalancerSourceRanges", why: inside}, {path: "spec.allocateLoadBalancerNodePorts", why: inside},
		{path: "spec.healthCheckNodePort", why: inside},
		{path: "spec.trafficDistribution", why: "all pods are on one node"},
		{path: "spec.ipFamilies[]", judge: only("write IPv4, or leave it out", "IPv4")},
		{path: "spec.ipFamilyPolicy", judge: only("write SingleStack, or leave it out", "SingleStack", "PreferDualStack")},
		{path: "spec.sessionAffinity", judge: only("proxies choose the pod: write a DestinationRule with loadBalancer.consistentHash.useSourceIp", "None")},
		{path: "spec.sessionAffinityConfig", judge: never("proxies choose the pod", "write a DestinationRule with loadBalancer.consistentHash")},
		{path: "spec.externalIPs", judge: never("the local mesh has loopback addresses only", "remove it")},
		{path: "spec.externalName", judge: never("proxies of the local mesh reach loopback addresses only", onCluster)},
	}
}

func noClusterIP(v any) (string, string) {
	switch v {
	case "":
		return "", ""
	case "None":
		return "a headless service needs the interception of a cluster, since its clients choose the pod", "remove it: the service then has one address"
	}
	return "cluster IPs of the local mesh are loopback addresses of its own", "remove it"
}

func serviceAccountRules() []rule {
	return []rule{
		{path: "imagePullSecrets", why: "no image is pulled"},
		{path: "secrets", why: "pods get no token: nothing checks one"},
		{path: "automountServiceAccountToken", why: "pods get no token: nothing checks one"},
	}
}

// dataRules are those of ConfigMap and Secret.
func dataRules() []rule {
	return []rule{
		{path: "data.*", judge: isString}, {path: "stringData.*", judge: isString}, {path: "type"},
		{path: "binaryData", why: "env and envFrom do not read it, and there are no volumes"},
		{path: "immutable", why: "objects live as long as the mesh"},
	}
}

func sliceRules() []rule {
	return []rule{{path: "addressType", judge: only("write IPv4", "IPv4")}, {path: "endpoints"}, {path: "ports"}}
}
