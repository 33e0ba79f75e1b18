package step

import (
	"encoding/json"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	extensions "istio.io/api/extensions/v1alpha1"
	networkingv1 "istio.io/api/networking/v1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	securityv1 "istio.io/api/security/v1"
	telemetryv1 "istio.io/api/telemetry/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

// specs makes the types of Istio's specs by group and kind, of whatever version.
func specs() map[string]func() proto.Message {
	return map[string]func() proto.Message{
		networking + "/VirtualService":      func() proto.Message { return new(networkingv1.VirtualService) },
		networking + "/DestinationRule":     func() proto.Message { return new(networkingv1.DestinationRule) },
		networking + "/Gateway":             func() proto.Message { return new(networkingv1.Gateway) },
		networking + "/ServiceEntry":        func() proto.Message { return new(networkingv1.ServiceEntry) },
		networking + "/Sidecar":             func() proto.Message { return new(networkingv1.Sidecar) },
		networking + "/WorkloadEntry":       func() proto.Message { return new(networkingv1.WorkloadEntry) },
		networking + "/WorkloadGroup":       func() proto.Message { return new(networkingv1.WorkloadGroup) },
		networking + "/EnvoyFilter":         func() proto.Message { return new(networkingv1alpha3.EnvoyFilter) },
		networking + "/ProxyConfig":         func() proto.Message { return new(networkingv1beta1.ProxyConfig) },
		security + "/PeerAuthentication":    func() proto.Message { return new(securityv1.PeerAuthentication) },
		security + "/AuthorizationPolicy":   func() proto.Message { return new(securityv1.AuthorizationPolicy) },
		security + "/RequestAuthentication": func() proto.Message { return new(securityv1.RequestAuthentication) },
		"telemetry.istio.io/Telemetry":      func() proto.Message { return new(telemetryv1.Telemetry) },
		"extensions.istio.io/WasmPlugin":    func() proto.Message { return new(extensions.WasmPlugin) },
	}
}

// decodeStrictly says what in the spec of an Istio object Istio's own types do not know, or "".
func decodeStrictly(u *unstructured.Unstructured) string {
	gvk := u.GroupVersionKind()
	maker, ok := specs()[gvk.Group+"/"+gvk.Kind]
	if !ok {
		return ""
	}
	data, err := json.Marshal(inSeconds(u.Object["spec"]))
	if err == nil && u.Object["spec"] != nil {
		err = protojson.Unmarshal(data, maker())
	}
	if err == nil {
		return ""
	}
	// protojson's texts begin with the position in the JSON, which nobody sees, and vary in their spaces on purpose.
	return regexp.MustCompile(`^proto:.\(line [0-9:]+\): |^proto:.`).ReplaceAllString(err.Error(), "")
}

// inSeconds is a value with each duration that Go reads written in seconds. Istio reads both, protojson the latter only.
func inSeconds(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = inSeconds(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = inSeconds(x)
		}
		return out
	case string:
		if d, err := time.ParseDuration(v); err == nil && v != "0" {
			return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
		}
	}
	return v
}

// fields are the message's fields as they stand in an object; whole numbers are int64.
func (c *compiler) fields(message json.Marshaler) map[string]any {
	out := scenario.Object{}
	data, err := message.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		c.problem("", "cannot be written as Istio's object: "+err.Error(), "")
	}
	return out
}

func duration(d scenario.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(time.Duration(d))
}

// laid puts the fields of over into base, map by map, and keeps all others.
func laid(base, over map[string]any) map[string]any {
	if base == nil {
		base = map[string]any{}
	}
	for k, v := range over {
		inner, isMap := v.(map[string]any)
		old, wasMap := base[k].(map[string]any)
		if isMap && wasMap {
			base[k] = laid(old, inner)
		} else {
			base[k] = v
		}
	}
	return base
}

func toList(maps []map[string]any) []any {
	out := make([]any, len(maps))
	for i, m := range maps {
		out[i] = m
	}
	return out
}

// specOf is the object's spec to read; it may be nil.
func specOf(u *unstructured.Unstructured) map[string]any {
	spec, _ := u.Object["spec"].(map[string]any)
	return spec
}

func str(parent map[string]any, field string) string {
	text, _ := parent[field].(string)
	return text
}

func copyOf(m map[string]any) map[string]any {
	return (&unstructured.Unstructured{Object: m}).DeepCopy().Object
}
