package kubeapi

import (
	stderrors "errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"squall/internal/fields"
)

// maxBody is the size of the largest body that is read, as in Kubernetes.
const maxBody = 3 << 20

// readBody reads a body and says its media type.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, string, error) {
	media := "application/json"
	if h := r.Header.Get("Content-Type"); h != "" {
		m, _, err := mime.ParseMediaType(h)
		if err != nil {
			return nil, "", errors.NewBadRequest(fmt.Sprintf("Content-Type %q: %v", h, err))
		}
		media = m
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooBig := (*http.MaxBytesError)(nil); stderrors.As(err, &tooBig) {
		return nil, "", errors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	if err != nil {
		return nil, "", errors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
	}
	return b, media, nil
}

// inputTypes are the media types that objects are read in.
func inputTypes() []string {
	return []string{"application/json", "application/yaml", runtime.ContentTypeProtobuf}
}

// asJSON turns a body into JSON. strict are fields that are there twice in a YAML body. In JSON they are kept.
func asJSON(res *Resource, b []byte, media string) (out []byte, strict []string, err error) {
	switch media {
	case "application/json":
		return b, nil, nil
	case "application/yaml", string(types.ApplyYAMLPatchType):
		out, strictErr := yaml.YAMLToJSONStrict(b)
		if strictErr == nil {
			return out, nil, nil
		}
		if out, err = yaml.YAMLToJSON(b); err != nil {
			return nil, nil, errors.NewBadRequest(fmt.Sprintf("error converting YAML to JSON: %v", err))
		}
		return out, []string{strings.TrimPrefix(strictErr.Error(), "yaml: unmarshal errors:\n")}, nil
	case runtime.ContentTypeProtobuf: // kubectl create writes built-in kinds so
		o, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(b, nil, nil)
		if err != nil {
			return nil, nil, errors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized: %v", err))
		}
		o.GetObjectKind().SetGroupVersionKind(*gvk)
		return mustJSON(o), nil, nil
	}
	return nil, nil, unsupportedMedia(res, media, inputTypes()...)
}

// unsupportedMedia is the answer to a body in a form that is not read.
func unsupportedMedia(res *Resource, media string, allowed ...string) error {
	err := errors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "", res.groupResource(), "", "", 0, false)
	err.ErrStatus.Reason = metav1.StatusReasonUnsupportedMediaType
	err.ErrStatus.Message = fmt.Sprintf("the body of the request was in an unknown format (%s): accepted media types are %s",
		media, strings.Join(allowed, ", "))
	return err
}

// decodeJSON reads one object. strict are the fields that are there twice.
func decodeJSON(b []byte) (data map[string]any, strict []string, err error) {
	duplicates, err := kjson.UnmarshalStrict(b, &data, kjson.DisallowDuplicateFields)
	if err != nil {
		return nil, nil, errors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type JSON or YAML): %v", err))
	}
	if data == nil {
		return nil, nil, errors.NewBadRequest("the object provided is unrecognized: the body holds no object")
	}
	for _, d := range duplicates {
		strict = append(strict, d.Error())
	}
	return data, strict, nil
}

// readObject reads the object in a body and checks that it is of the resource, and that its fields are.
func (s *Server) readObject(w http.ResponseWriter, r *http.Request, q *request) (map[string]any, error) {
	b, media, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return s.decodeObject(w, q, b, media)
}

func (s *Server) decodeObject(w http.ResponseWriter, q *request, b []byte, media string) (map[string]any, error) {
	b, twice, err := asJSON(q.res, b, media)
	if err != nil {
		return nil, err
	}
	data, strict, err := decodeJSON(b)
	if err != nil {
		return nil, err
	}
	return data, s.admit(w, q, data, append(twice, strict...))
}

// admit checks that data is an object of the resource that the request names: its kind, name, namespace and fields.
// It removes unknown fields and nulls from data; what is done about unknown fields is the request's choice.
func (s *Server) admit(w http.ResponseWriter, q *request, data map[string]any, strict []string) error {
	gvk := q.res.gvk(q.version)
	if err := checkKind(data, gvk); err != nil {
		return err
	}
	if err := checkType(s.schemas.isCustom(q.res), gvk, data); err != nil {
		return err
	}
	if err := q.checkPlace(data); err != nil {
		return err
	}
	for _, path := range s.schemas.prune(q.res, data) {
		strict = append(strict, fmt.Sprintf("unknown field %q", path))
	}
	if len(strict) == 0 {
		return nil
	}
	switch q.fieldValidation {
	case metav1.FieldValidationStrict:
		return errors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: strict decoding error: %s",
			gvk.Kind, gvk.Version, gvk.Kind, strings.Join(strict, ", ")))
	case metav1.FieldValidationIgnore:
		return nil
	}
	for _, problem := range strict {
		if h, err := net.NewWarningHeader(299, "-", problem); err == nil { // a path with control characters has no header
			w.Header().Add("Warning", h)
		}
	}
	return nil
}

// checkKind compares kind and apiVersion with the resource's, and fills in absent ones.
func checkKind(data map[string]any, want schema.GroupVersionKind) error {
	setDefault(data, "apiVersion", want.GroupVersion().String())
	setDefault(data, "kind", want.Kind)
	if v := data["apiVersion"]; v != want.GroupVersion().String() {
		return errors.NewBadRequest(fmt.Sprintf("the API version in the data (%v) does not match the expected API version (%s)", v, want.GroupVersion()))
	}
	if k := data["kind"]; k != want.Kind {
		return errors.NewBadRequest(fmt.Sprintf("the kind in the data (%v) does not match the expected kind (%s)", k, want.Kind))
	}
	return nil
}

// checkType refuses values of another type than the field's: in all of a built-in kind, in the metadata of others,
// whose schemas are checked later.
func checkType(custom bool, gvk schema.GroupVersionKind, data map[string]any) error {
	var into any = &metav1.PartialObjectMetadata{}
	if !custom {
		if o, err := scheme.Scheme.New(gvk); err == nil {
			into = o
		}
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(mustJSON(data), into); err != nil {
		return errors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
	}
	return nil
}

// checkPlace compares name and namespace with the path's, and fills in absent ones.
func (q *request) checkPlace(data map[string]any) error {
	meta := fields.Child(data, "metadata")
	if ns := text(meta, "namespace"); ns != "" && ns != q.namespace {
		return errors.NewBadRequest(fmt.Sprintf("the namespace of the provided object does not match the namespace sent on the request: %q, not %q", ns, q.namespace))
	}
	if q.namespace != "" {
		meta["namespace"] = q.namespace
	}
	if q.name == "" {
		return nil
	}
	setDefault(meta, "name", q.name)
	if name := text(meta, "name"); name != q.name {
		return errors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, q.name))
	}
	return nil
}
