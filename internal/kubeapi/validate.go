package kubeapi

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	kjson "sigs.k8s.io/json"
)

// validate finds what is wrong with an object that is to be stored. live is the stored one, nil for a new one.
func (s *Server) validate(q *request, data map[string]any, live *object) field.ErrorList {
	u := &unstructured.Unstructured{Object: data}
	path := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(u, !q.res.ClusterScoped, nameRule(q.res), path)
	if live != nil {
		before := &unstructured.Unstructured{Object: live.data}
		errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(u, before, path)...)
	}
	spec, _ := data["spec"].(map[string]any)
	at := field.NewPath("spec")
	switch q.res.groupResource().String() {
	case "services":
		errs = append(errs, validateService(spec, live, at)...)
	case "pods":
		errs = append(errs, validatePodSpec(spec, at)...)
	case "deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps":
		errs = append(errs, validateWorkload(spec, live, at)...)
	}
	if s.schemas.isCustom(q.res) {
		errs = append(errs, s.validateCustom(q.res, data)...)
	}
	return errs
}

// nameRule is what names of a resource must look like.
func nameRule(r *Resource) validation.ValidateNameFunc {
	switch r.groupResource().String() {
	case "namespaces":
		return validation.NameIsDNSLabel
	case "services":
		return validation.NameIsDNS1035Label
	}
	return validation.NameIsDNSSubdomain
}

// validateCustom checks an object against the schema of its CRD.
func (s *Server) validateCustom(r *Resource, data map[string]any) field.ErrorList {
	result := validate.NewSchemaValidator(s.schemas.of(r), nil, "", strfmt.Default).Validate(data)
	var errs field.ErrorList
	for _, err := range result.Errors {
		var v *openapierrors.Validation
		if !errors.As(err, &v) {
			errs = append(errs, field.Invalid(nil, "", err.Error()))
			continue
		}
		path := field.NewPath(strings.TrimPrefix(v.Name, "."))
		switch v.Code() {
		case openapierrors.RequiredFailCode:
			errs = append(errs, field.Required(path, ""))
		case openapierrors.InvalidTypeCode:
			errs = append(errs, field.TypeInvalid(path, v.Value, v.Error()))
		default:
			errs = append(errs, field.Invalid(path, v.Value, v.Error()))
		}
	}
	return errs
}

func validateService(spec map[string]any, live *object, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	ports := mapsOf(list(spec, "ports"))
	headless := spec["clusterIP"] == "None" || spec["type"] == "ExternalName"
	if len(ports) == 0 && !headless {
		errs = append(errs, field.Required(at.Child("ports"), ""))
	}
	names, numbers := map[string]bool{}, map[string]bool{}
	for i, p := range ports {
		errs = append(errs, validateServicePort(p, len(ports) > 1, at.Child("ports").Index(i))...)
		name, number := text(p, "name"), fmt.Sprintf("%d/%s", number(p, "port"), text(p, "protocol"))
		if name != "" && names[name] {
			errs = append(errs, field.Duplicate(at.Child("ports").Index(i).Child("name"), name))
		}
		if numbers[number] {
			errs = append(errs, field.Duplicate(at.Child("ports").Index(i), number))
		}
		names[name], numbers[number] = true, true
	}
	if live == nil || text(live.data, "spec", "clusterIP") == "" || text(live.data, "spec", "type") != text(spec, "type") {
		return errs
	}
	return append(errs, validation.ValidateImmutableField(spec["clusterIP"], lookup(live.data, "spec", "clusterIP"), at.Child("clusterIPs").Index(0))...)
}

func validateServicePort(p map[string]any, named bool, at *field.Path) field.ErrorList {
	errs := portRange(p["port"], at.Child("port"))
	if named && text(p, "name") == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if name := text(p, "name"); name != "" {
		for _, m := range utilvalidation.IsDNS1123Label(name) {
			errs = append(errs, field.Invalid(at.Child("name"), name, m))
		}
	}
	switch target := p["targetPort"].(type) {
	case string:
		for _, m := range utilvalidation.IsValidPortName(target) {
			errs = append(errs, field.Invalid(at.Child("targetPort"), target, m))
		}
	default:
		errs = append(errs, portRange(target, at.Child("targetPort"))...)
	}
	return append(errs, protocol(p, at)...)
}

func portRange(v any, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	n, _ := v.(int64)
	for _, m := range utilvalidation.IsValidPortNum(int(n)) {
		errs = append(errs, field.Invalid(at, v, m))
	}
	return errs
}

func protocol(p map[string]any, at *field.Path) field.ErrorList {
	switch p["protocol"] {
	case "TCP", "UDP", "SCTP":
		return nil
	}
	return field.ErrorList{field.NotSupported(at.Child("protocol"), text(p, "protocol"), []string{"SCTP", "TCP", "UDP"})}
}

func validateWorkload(spec map[string]any, live *object, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := number(spec, "replicas"); n < 0 {
		errs = append(errs, field.Invalid(at.Child("replicas"), n, "must be greater than or equal to 0"))
	}
	errs = append(errs, validateSelector(spec, at)...)
	if live != nil {
		errs = append(errs, validation.ValidateImmutableField(spec["selector"], lookup(live.data, "spec", "selector"), at.Child("selector"))...)
	}
	podSpec, _ := lookup(spec, "template", "spec").(map[string]any)
	return append(errs, validatePodSpec(podSpec, at.Child("template", "spec"))...)
}

// validateSelector checks that the pods of a workload are its own.
func validateSelector(spec map[string]any, at *field.Path) field.ErrorList {
	m, ok := spec["selector"].(map[string]any)
	if !ok || len(m) == 0 {
		return field.ErrorList{field.Required(at.Child("selector"), "")}
	}
	var typed metav1.LabelSelector
	if err := fromMap(m, &typed); err != nil {
		return field.ErrorList{field.Invalid(at.Child("selector"), m, err.Error())}
	}
	sel, err := metav1.LabelSelectorAsSelector(&typed)
	if err != nil {
		return field.ErrorList{field.Invalid(at.Child("selector"), m, err.Error())}
	}
	have := labels.Set{}
	podLabels, _ := lookup(spec, "template", "metadata", "labels").(map[string]any)
	for k, v := range podLabels {
		have[k] = fmt.Sprint(v)
	}
	if !sel.Matches(have) {
		return field.ErrorList{field.Invalid(at.Child("template", "metadata", "labels"), podLabels, "`selector` does not match template `labels`")}
	}
	return nil
}

func validatePodSpec(spec map[string]any, at *field.Path) field.ErrorList {
	containers := mapsOf(list(spec, "containers"))
	if len(containers) == 0 {
		return field.ErrorList{field.Required(at.Child("containers"), "")}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, c := range containers {
		path := at.Child("containers").Index(i)
		name := text(c, "name")
		switch {
		case name == "":
			errs = append(errs, field.Required(path.Child("name"), ""))
		case names[name]:
			errs = append(errs, field.Duplicate(path.Child("name"), name))
		}
		for _, m := range utilvalidation.IsDNS1123Label(name) {
			if name != "" {
				errs = append(errs, field.Invalid(path.Child("name"), name, m))
			}
		}
		names[name] = true
		if text(c, "image") == "" {
			errs = append(errs, field.Required(path.Child("image"), ""))
		}
		errs = append(errs, validateContainer(c, path)...)
	}
	return errs
}

func validateContainer(c map[string]any, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range mapsOf(list(c, "ports")) {
		path := at.Child("ports").Index(i)
		errs = append(errs, portRange(p["containerPort"], path.Child("containerPort"))...)
		errs = append(errs, protocol(p, path)...)
	}
	for i, e := range mapsOf(list(c, "env")) {
		if text(e, "name") == "" {
			errs = append(errs, field.Required(at.Child("env").Index(i).Child("name"), ""))
		}
		if e["valueFrom"] != nil && text(e, "value") != "" {
			errs = append(errs, field.Invalid(at.Child("env").Index(i).Child("valueFrom"), "", "may not be specified when `value` is not empty"))
		}
	}
	return errs
}

func fromMap(m map[string]any, into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(mustJSON(m), into)
}
