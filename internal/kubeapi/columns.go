package kubeapi

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// builtInCells are the columns after the name for Kubernetes' own kinds, by resource and group.
func builtInCells() map[string][]cell {
	return map[string][]cell{
		"namespaces": {at("Status", "status.phase"), ageCell()},
		"nodes":      {made("Status", nodeStatus), made("Roles", func(map[string]any) string { return "<none>" }), ageCell(), at("Version", "status.nodeInfo.kubeletVersion")},
		"pods": {made("Ready", podReady), made("Status", podStatus), {name: "Restarts", kind: "string", value: restarts}, ageCell(),
			wide(orNone(at("IP", "status.podIP"))), wide(orNone(at("Node", "spec.nodeName")))},
		"services": {at("Type", "spec.type"), orNone(at("Cluster-IP", "spec.clusterIP")), made("External-IP", externalIP),
			orNone(made("Port(s)", servicePorts)), ageCell(), wide(made("Selector", selectorText("spec", "selector")))},
		"configmaps":      {counted("Data", "data", "binaryData"), ageCell()},
		"secrets":         {at("Type", "type"), counted("Data", "data"), ageCell()},
		"serviceaccounts": {counted("Secrets", "secrets"), ageCell()},
		"endpoints":       {orNone(made("Endpoints", endpointAddresses)), ageCell()},
		"events": {timeCell("Last Seen", "lastTimestamp"), at("Type", "type"), at("Reason", "reason"),
			made("Object", func(d map[string]any) string {
				return strings.ToLower(text(d, "involvedObject", "kind")) + "/" + text(d, "involvedObject", "name")
			}), at("Message", "message")},
		"deployments.apps": {made("Ready", ready("status", "readyReplicas")), count("Up-to-date", "status.updatedReplicas"),
			count("Available", "status.availableReplicas"), ageCell(),
			wide(made("Containers", containers("name"))), wide(made("Images", containers("image"))),
			wide(made("Selector", selectorText("spec", "selector", "matchLabels")))},
		"replicasets.apps":  {count("Desired", "spec.replicas"), count("Current", "status.replicas"), count("Ready", "status.readyReplicas"), ageCell()},
		"statefulsets.apps": {made("Ready", ready("status", "readyReplicas")), ageCell()},
		"endpointslices.discovery.k8s.io": {at("AddressType", "addressType"), orNone(made("Ports", slicePorts)),
			orNone(made("Endpoints", sliceAddresses)), ageCell()},
		"ingresses.networking.k8s.io":                    {orNone(at("Class", "spec.ingressClassName")), ageCell()},
		"leases.coordination.k8s.io":                     {at("Holder", "spec.holderIdentity"), ageCell()},
		"customresourcedefinitions.apiextensions.k8s.io": {at("Created At", "metadata.creationTimestamp")},
	}
}

// counted is how many entries there are below some keys.
func counted(name string, keys ...string) cell {
	return cell{name: name, kind: "string", value: func(data map[string]any, _ time.Time) any {
		n := 0
		for _, k := range keys {
			switch v := data[k].(type) {
			case map[string]any:
				n += len(v)
			case []any:
				n += len(v)
			}
		}
		return strconv.Itoa(n)
	}}
}

func ready(path ...string) func(map[string]any) string {
	return func(d map[string]any) string {
		return fmt.Sprintf("%d/%d", number(d, path...), number(d, "spec", "replicas"))
	}
}

func condition(data map[string]any, kind string) map[string]any {
	for _, c := range list(data, "status", "conditions") {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			return m
		}
	}
	return nil
}

func nodeStatus(d map[string]any) string {
	status := "Unknown"
	switch text(condition(d, "Ready"), "status") {
	case "True":
		status = "Ready"
	case "False":
		status = "NotReady"
	}
	if lookup(d, "spec", "unschedulable") == true {
		status += ",SchedulingDisabled"
	}
	return status
}

// mapsOf keeps the maps of a list.
func mapsOf(l []any) []map[string]any {
	var out []map[string]any
	for _, v := range l {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func podReady(d map[string]any) string {
	ready := 0
	for _, c := range mapsOf(list(d, "status", "containerStatuses")) {
		if c["ready"] == true {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, len(list(d, "spec", "containers")))
}

func podStatus(d map[string]any) string {
	status := text(d, "status", "phase")
	if r := text(d, "status", "reason"); r != "" {
		status = r
	}
	for _, c := range mapsOf(list(d, "status", "containerStatuses")) {
		for _, state := range []string{"waiting", "terminated"} {
			if r := text(c, "state", state, "reason"); r != "" {
				status = r
			}
		}
	}
	if text(d, "metadata", "deletionTimestamp") != "" {
		status = "Terminating"
	}
	return status
}

func restarts(d map[string]any, now time.Time) any {
	var n int64
	var last time.Time
	for _, c := range mapsOf(list(d, "status", "containerStatuses")) {
		n += number(c, "restartCount")
		if t, err := time.Parse(time.RFC3339, text(c, "lastState", "terminated", "finishedAt")); err == nil && t.After(last) {
			last = t
		}
	}
	if last.IsZero() {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d (%s ago)", n, duration.HumanDuration(now.Sub(last)))
}

func externalIP(d map[string]any) string {
	var ips []string
	for _, i := range mapsOf(list(d, "status", "loadBalancer", "ingress")) {
		ips = append(ips, text(i, "ip")+text(i, "hostname"))
	}
	for _, ip := range list(d, "spec", "externalIPs") {
		ips = append(ips, fmt.Sprint(ip))
	}
	switch {
	case text(d, "spec", "type") == "ExternalName":
		return text(d, "spec", "externalName")
	case len(ips) > 0:
		return strings.Join(ips, ",")
	case text(d, "spec", "type") == "LoadBalancer":
		return "<pending>"
	}
	return "<none>"
}

func servicePorts(d map[string]any) string {
	var ports []string
	for _, p := range mapsOf(list(d, "spec", "ports")) {
		s := strconv.FormatInt(number(p, "port"), 10)
		if n := number(p, "nodePort"); n != 0 {
			s += ":" + strconv.FormatInt(n, 10)
		}
		ports = append(ports, s+"/"+text(p, "protocol"))
	}
	return strings.Join(ports, ",")
}

func selectorText(path ...string) func(map[string]any) string {
	return func(d map[string]any) string {
		m, _ := lookup(d, path...).(map[string]any)
		if len(m) == 0 {
			return "<none>"
		}
		set := map[string]string{}
		for k, v := range m {
			set[k] = fmt.Sprint(v)
		}
		return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: set})
	}
}

func containers(key string) func(map[string]any) string {
	return func(d map[string]any) string {
		var out []string
		for _, c := range mapsOf(list(d, "spec", "template", "spec", "containers")) {
			out = append(out, text(c, key))
		}
		return strings.Join(out, ",")
	}
}

func endpointAddresses(d map[string]any) string {
	var out []string
	for _, s := range mapsOf(list(d, "subsets")) {
		for _, p := range mapsOf(list(s, "ports")) {
			for _, a := range mapsOf(list(s, "addresses")) {
				out = append(out, fmt.Sprintf("%s:%d", text(a, "ip"), number(p, "port")))
			}
		}
	}
	return strings.Join(out, ",")
}

func slicePorts(d map[string]any) string {
	var out []string
	for _, p := range mapsOf(list(d, "ports")) {
		out = append(out, strconv.FormatInt(number(p, "port"), 10))
	}
	return strings.Join(out, ",")
}

func sliceAddresses(d map[string]any) string {
	var out []string
	for _, e := range mapsOf(list(d, "endpoints")) {
		for _, a := range list(e, "addresses") {
			out = append(out, fmt.Sprint(a))
		}
	}
	return strings.Join(out, ",")
}
