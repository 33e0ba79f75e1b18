package kube

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"squall/internal/mesh"
)

// entryMark is the value of entryKey.
const entryMark = "access"

// filterName is the name of Squall's own filters.
const filterName = "squall-access"

// Instruments are the filters that a run needs in each namespace: proxies write access log entries in Squall's format, beside what the
// mesh has them write, and tell their callers the request id. In Istio's root namespace it is for the ingress gateway alone.
func (m *Mesh) Instruments(namespaces []string) []*unstructured.Unstructured {
	settings := map[string]map[string]any{}
	for _, where := range []string{"SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"} {
		settings[where] = map[string]any{"access_log": []any{accessLog()}}
		if where != "SIDECAR_INBOUND" {
			maps.Copy(settings[where], mesh.RequestID())
		}
	}
	var out []*unstructured.Unstructured
	for _, ns := range namespaces {
		var selector map[string]string
		if ns == mesh.RootNamespace {
			selector = mesh.IngressLabels()
		}
		u := mesh.Instrument(filterName, ns, selector, settings)
		m.label(u)
		out = append(out, u)
	}
	return out
}

// label says whose the object is.
func (m *Mesh) label(u *unstructured.Unstructured) {
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[mesh.ManagedByLabel] = mesh.FieldManager
	labels[mesh.RunIDLabel] = strings.Trim(m.opts.RunID[max(0, len(m.opts.RunID)-63):], "-_.")
	u.SetLabels(labels)
}

// Keeps says whether an object stays for the next run: namespaces on kind's cluster, which is Squall's own.
func (m *Mesh) Keeps(r mesh.Ref) bool { return m.opts.Name == "kind" && r.Kind == "Namespace" }

// accessLog is an access logger to standard output.
func accessLog() map[string]any {
	format := mesh.AccessLogFormat()
	format[entryKey] = entryMark
	return map[string]any{
		"name": "envoy.access_loggers.file",
		"typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
			"path":  "/dev/stdout", "log_format": map[string]any{"json_format": format},
		},
	}
}

// configAnnotation is how a pod sets its own proxy's configuration.
const configAnnotation = "proxy.istio.io/config"

// Prepare readies a workload of the fixtures for the cluster, in place: its proxies keep the stats that proofs read, its images are
// those of the cluster, and images are not pulled again.
func (m *Mesh) Prepare(u *unstructured.Unstructured) error {
	m.label(u)
	spec, ok, err := unstructured.NestedMap(u.Object, "spec", "template")
	if err != nil || !ok {
		return err
	}
	annotations, _, err := unstructured.NestedStringMap(spec, "metadata", "annotations")
	if err != nil {
		return err
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	if annotations[configAnnotation], err = keepStats(annotations[configAnnotation]); err != nil {
		return err
	}
	if err := unstructured.SetNestedStringMap(spec, annotations, "metadata", "annotations"); err != nil {
		return err
	}
	for _, list := range []string{"containers", "initContainers"} {
		if err := m.images(spec, list); err != nil {
			return err
		}
	}
	return unstructured.SetNestedMap(u.Object, spec, "spec", "template")
}

func (m *Mesh) images(template map[string]any, list string) error {
	containers, ok, err := unstructured.NestedSlice(template, "spec", list)
	if err != nil || !ok {
		return err
	}
	for _, c := range containers {
		c, ok := c.(map[string]any)
		if !ok {
			continue
		}
		image, _ := c["image"].(string)
		if m.opts.Image != nil {
			c["image"] = m.opts.Image(image)
		}
		if image != "auto" && c["imagePullPolicy"] == nil {
			c["imagePullPolicy"] = "IfNotPresent"
		}
	}
	return unstructured.SetNestedSlice(template, containers, "spec", list)
}

// keepStats adds the stats that Squall reads to a proxy's configuration, given as YAML.
func keepStats(config string) (string, error) {
	c := map[string]any{}
	if err := yaml.Unmarshal([]byte(config), &c); err != nil {
		return "", err
	}
	matcher, _ := c["proxyStatsMatcher"].(map[string]any)
	if matcher == nil {
		matcher = map[string]any{}
	}
	regexps, _ := matcher["inclusionRegexps"].([]any)
	for _, r := range mesh.StatsInclusion() {
		if !slices.Contains(regexps, any(r)) {
			regexps = append(regexps, r)
		}
	}
	matcher["inclusionRegexps"] = regexps
	c["proxyStatsMatcher"] = matcher
	b, err := yaml.Marshal(c)
	return string(b), err
}
