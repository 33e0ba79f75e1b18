package local

import "squall/internal/mesh"

// deploymentRules are those of a Deployment and its pods.
func deploymentRules() []rule {
	out := []rule{
		{path: "spec.replicas"}, {path: "spec.selector.matchLabels"}, {path: "spec.selector.matchExpressions"},
		{path: "spec.strategy.type"},
		{path: "spec.strategy.rollingUpdate", why: "as many pods of the new template start as are wanted, and the old ones stay until those are ready"},
		{path: "spec.revisionHistoryLimit", why: "no history is kept"},
		{path: "spec.progressDeadlineSeconds", why: "a pod that cannot start is told at once; a run waits so long for one that takes more than 90 s"},
		{path: "spec.minReadySeconds", judge: never("a ready pod is available at once on the local mesh", onCluster)},
		{path: "spec.paused", judge: never("a change is rolled out at once on the local mesh", "remove it")},
	}
	for _, part := range [][]rule{templateRules(), podRules(), containerRules(), probeRules(), volumeRules()} {
		for _, r := range part {
			r.path = "spec.template." + r.path
			out = append(out, r)
		}
	}
	return out
}

func templateRules() []rule {
	const own = "a pod's name and namespace come from its Deployment"
	return []rule{
		{path: "metadata.name", why: own}, {path: "metadata.namespace", why: own}, {path: "metadata.creationTimestamp", why: "the API sets it itself"},
		{path: "metadata.labels.*", judge: isString},
		{path: `metadata.labels["istio.io/rev"]`, judge: refuse("the local mesh has one istiod without a revision", oneRevision)},
		{path: `metadata.labels["istio.io/dataplane-mode"]`, judge: only(oneRevision, "none")},
		{path: `metadata.labels["security.istio.io/tlsMode"]`, judge: refuse("the label says that the pod has a sidecar", "use the label sidecar.istio.io/inject")},
		{path: `metadata.labels["` + podLabel + `"]`, judge: refuse("the label is the local mesh's own", "remove it")},
		{path: "metadata.annotations.*", judge: isString},
		{path: `metadata.annotations["` + mesh.TemplatesAnnotation + `"]`, judge: only("remove it, or write "+mesh.GatewayTemplate, mesh.GatewayTemplate)},
		{path: `metadata.annotations["proxy.istio.io/config"]`, judge: proxyConfig, why: "proxies keep the stats that Squall reads, and no others"},
	}
}

func podRules() []rule {
	const oneNode = "there is one node"
	const user = "programs run as the user who runs Squall, in the machine's own files"
	out := []rule{
		{path: "spec.serviceAccountName"}, {path: "spec.serviceAccount"}, {path: "spec.terminationGracePeriodSeconds"},
		{path: "spec.restartPolicy", judge: only("a Deployment's pods are Always", "Always"), why: "a program that ends fails the run instead of being started again"},
		{path: "spec.dnsPolicy", judge: only("programs find services through their proxy", "ClusterFirst", "ClusterFirstWithHostNet"), why: "programs find services through their proxy"},
		{path: "spec.enableServiceLinks", why: "programs get no variables for services"},
		{path: "spec.imagePullSecrets", why: "no image is pulled"},
		{path: "spec.automountServiceAccountToken", why: "pods get no token: nothing checks one"},
		{path: "spec.os.name", judge: only("write linux", "linux")},
		{path: "spec.hostUsers", why: user}, {path: "spec.securityContext", why: user},
		{path: "spec.securityContext.sysctls", judge: never("the local mesh changes no kernel settings", onCluster)},
		{path: "spec.initContainers", judge: never("the local mesh runs no init containers", "prepare before the run, or run on a cluster")},
		{path: "spec.hostAliases", judge: never("programs share the machine's hosts file", onCluster)},
		{path: "spec.readinessGates", judge: never("nobody sets the conditions of readiness gates", onCluster)},
		{path: "spec.schedulingGates", judge: never("nobody lifts scheduling gates", onCluster)},
	}
	for _, name := range []string{"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "setHostnameAsFQDN", "hostname", "subdomain", "dnsConfig",
		"ephemeralContainers", "activeDeadlineSeconds", "resourceClaims"} {
		out = append(out, rule{path: "spec." + name, judge: never("the local mesh cannot honour it", onCluster)})
	}
	for _, name := range []string{"nodeSelector", "nodeName", "affinity", "tolerations", "topologySpreadConstraints", "schedulerName", "priorityClassName",
		"priority", "preemptionPolicy", "runtimeClassName", "overhead"} {
		out = append(out, rule{path: "spec." + name, why: oneNode})
	}
	return out
}

func containerRules() []rule {
	const at = "spec.containers[]."
	const user = "programs run as the user who runs Squall"
	const noHooks = "the local mesh runs no hooks"
	return []rule{
		{path: at + "name"}, {path: at + "image"}, {path: at + "args"},
		{path: at + "command"},
		{path: at + "workingDir", judge: never("the folder is one of the image, which is not here", onCluster)},
		{path: at + "ports[].name"}, {path: at + "ports[].containerPort"},
		{path: at + "ports[].protocol", judge: only("the local mesh serves TCP", "TCP")},
		{path: at + "ports[].hostPort", judge: never("the local mesh opens no port of the machine", "remove it")},
		{path: at + "ports[].hostIP", judge: never("the local mesh opens no port of the machine", "remove it")},
		{path: at + "env[].name"}, {path: at + "env[].value"},
		{path: at + "env[].valueFrom.configMapKeyRef"}, {path: at + "env[].valueFrom.secretKeyRef"},
		{path: at + "env[].valueFrom.fieldRef.apiVersion"}, {path: at + "env[].valueFrom.fieldRef.fieldPath", judge: fieldPath},
		{path: at + "env[].valueFrom.resourceFieldRef", judge: refuse("programs have no resources of their own", "write the value")},
		{path: at + "envFrom[].prefix"}, {path: at + "envFrom[].configMapRef"}, {path: at + "envFrom[].secretRef"},
		{path: at + "imagePullPolicy", why: "no image is pulled"},
		{path: at + "resources.requests", why: "there is one node, and nobody reserves anything on it"},
		{path: at + "resources.limits", judge: never("nothing holds a program to limits on the local mesh", onCluster)},
		{path: at + "resources.claims", judge: never("the local mesh has no devices", onCluster)},
		{path: at + "resizePolicy", why: "nothing is resized"},
		{path: at + "terminationMessagePath", why: "the log says why a program ended"}, {path: at + "terminationMessagePolicy", why: "the log says why a program ended"},
		{path: at + "stdin", why: "nobody attaches to a program"}, {path: at + "stdinOnce", why: "nobody attaches to a program"}, {path: at + "tty", why: "nobody attaches to a program"},
		{path: at + "securityContext", why: user},
		{path: at + "securityContext.privileged", judge: never(user, onCluster)},
		{path: at + "securityContext.capabilities.add", judge: never(user, onCluster)},
		{path: at + "lifecycle.postStart", judge: never(noHooks, onCluster)}, {path: at + "lifecycle.stopSignal", judge: never("the local mesh ends programs by SIGTERM", onCluster)},
		{path: at + "lifecycle.preStop.exec", judge: never(noHooks, onCluster)}, {path: at + "lifecycle.preStop.httpGet", judge: never(noHooks, onCluster)},
		{path: at + "lifecycle.preStop.tcpSocket", judge: never(noHooks, onCluster)},
		{path: at + "lifecycle.preStop.sleep", why: "a program is stopped when no other proxy knows its pod any more, which is what such a hook waits for"},
		{path: at + "restartPolicy", judge: never("a program that ends fails the run instead of being started again", "remove it")},
		{path: at + "volumeDevices", judge: never("the local mesh has no devices", onCluster)},
		{path: at + "volumeMounts", why: "an emptyDir is a folder of the machine: programs write where their user may, and TMPDIR and the working directory are the pod's own"},
		{path: at + "livenessProbe", why: "programs are not started again: one that ends fails the run"},
		{path: at + "startupProbe", judge: never("the local mesh does not restart programs", "remove it; readinessProbe is honoured, for as long as a start takes")},
	}
}

func probeRules() []rule {
	const at = "spec.containers[].readinessProbe."
	return []rule{
		{path: at + "httpGet.path"}, {path: at + "httpGet.port"}, {path: at + "httpGet.httpHeaders"}, {path: at + "tcpSocket.port"},
		{path: at + "timeoutSeconds"}, {path: at + "periodSeconds"}, {path: at + "failureThreshold"}, {path: at + "successThreshold"},
		{path: at + "initialDelaySeconds", why: "probes begin at once and follow fast until the first success, so that a pod is ready as soon as it serves"},
		{path: at + "terminationGracePeriodSeconds", why: "a failed readiness probe ends nothing"},
		{path: at + "httpGet.scheme", judge: only("the local mesh probes with HTTP", "HTTP")},
		{path: at + "httpGet.host", judge: never("the local mesh probes the pod's own address", "remove it")},
		{path: at + "tcpSocket.host", judge: never("the local mesh probes the pod's own address", "remove it")},
		{path: at + "exec", judge: refuse("the command is one of the image, which is not here", "use httpGet or tcpSocket")},
		{path: at + "grpc", judge: refuse("the local mesh has no gRPC probe", "use httpGet or tcpSocket")},
	}
}

func volumeRules() []rule {
	const why = "an emptyDir is a folder of the machine: programs write where their user may, and TMPDIR and the working directory are the pod's own"
	return []rule{{path: "spec.volumes[]", judge: onlyEmptyDir, why: why}}
}
