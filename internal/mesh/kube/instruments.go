package kube

import (
	"fmt"
	"maps"
	"slices"

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
		settings[where] = map[string]any{"access_log": []any{m.accessLog()}}
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
	labels[mesh.RunIDLabel] = m.Stamp().Label()
	u.SetLabels(labels)
}

// Keeps says whether an object stays for the next run: namespaces on kind's cluster, which is Squall's own.
func (m *Mesh) Keeps(r mesh.Ref) bool { return m.opts.Name == kindName && r.IsNamespace() }

// accessLog is an access logger to standard output.
func (m *Mesh) accessLog() map[string]any {
	format := mesh.AccessLogFormat()
	if m.opts.FineTimes {
		format = mesh.FineAccessLogFormat()
	}
	format = mesh.WithFields(format, m.opts.LogFields)
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

// templatePath is where objects of a kind hold pods' metadata and spec.
func templatePath(kind string) (path []string, ok bool) {
	switch kind {
	case "Pod":
		return nil, true
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
		return []string{"spec", "template"}, true
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template"}, true
	}
	return nil, false
}

// Prepare readies a workload of the fixtures for the cluster, in place: its proxies keep the stats that proofs read and let go of
// replaced listeners soon, its images are those of the cluster, and images are not pulled again.
func (m *Mesh) Prepare(u *unstructured.Unstructured) error {
	m.label(u)
	path, ok := templatePath(u.GetKind())
	if !ok {
		return nil
	}
	at := func(more ...string) []string { return slices.Concat(path, more) }
	annotation := at("metadata", "annotations", configAnnotation)
	config, _, err := unstructured.NestedString(u.Object, annotation...)
	if err == nil {
		config, err = proxyConfig(config)
	}
	if err == nil {
		err = unstructured.SetNestedField(u.Object, config, annotation...)
	}
	if err != nil {
		return fmt.Errorf("%s: annotation %s: %w", mesh.RefOf(u), configAnnotation, err)
	}
	for _, list := range []string{"containers", "initContainers"} {
		if err := m.images(u.Object, at("spec", list)); err != nil {
			return fmt.Errorf("%s: %w", mesh.RefOf(u), err)
		}
	}
	return nil
}

func (m *Mesh) images(object map[string]any, list []string) error {
	containers, ok, err := unstructured.NestedSlice(object, list...)
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
		if c["imagePullPolicy"] == nil { // also of the proxy that the injector puts in: of an image without a tag the API would say Always
			c["imagePullPolicy"] = "IfNotPresent"
		}
	}
	return unstructured.SetNestedSlice(object, containers, list...)
}

// drain is how long a proxy serves connections by a listener that a change has replaced. In Istio's own 45 s, a policy would hold for
// new connections only.
const drain = "1s"

// proxyConfig adds to a proxy's configuration, given as YAML, the stats that Squall reads, and the drain time where the author set none.
func proxyConfig(config string) (string, error) {
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
	if c["drainDuration"] == nil {
		c["drainDuration"] = drain
	}
	b, err := yaml.Marshal(c)
	return string(b), err
}
