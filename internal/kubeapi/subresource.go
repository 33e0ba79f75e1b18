package kubeapi

import (
	"fmt"
	"net/http"
	"strconv"

	jsonpatch "github.com/evanphx/json-patch/v5"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"squall/internal/fields"
)

// scaleOf is the /scale of an object.
func scaleOf(o *object) *autoscalingv1.Scale {
	match, _ := lookup(o.data, "spec", "selector", "matchLabels").(map[string]any)
	set := labels.Set{}
	for k, v := range match {
		set[k] = fmt.Sprint(v)
	}
	created, _ := lookup(o.data, "metadata", "creationTimestamp").(string)
	scale := &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"},
		ObjectMeta: metav1.ObjectMeta{Name: o.key.name, Namespace: o.key.namespace, UID: uidOf(o),
			ResourceVersion: strconv.FormatUint(o.rv, 10)},
		Spec:   autoscalingv1.ScaleSpec{Replicas: int32(number(o.data, "spec", "replicas"))},
		Status: autoscalingv1.ScaleStatus{Replicas: int32(number(o.data, "status", "replicas")), Selector: set.String()},
	}
	_ = scale.CreationTimestamp.UnmarshalQueryParameter(created) // an absent time stays zero
	return scale
}

func uidOf(o *object) types.UID { return types.UID(o.uid()) }

func (s *Server) serveScale(w http.ResponseWriter, r *http.Request, q *request) error {
	b, media, err := readBody(w, r)
	if err != nil {
		return err
	}
	if b, _, err = asJSON(q.res, b, media); err != nil {
		return err
	}
	return s.changeScale(w, q, func([]byte) ([]byte, error) { return b, nil })
}

func (s *Server) patchScale(w http.ResponseWriter, q *request, kind types.PatchType, b []byte) error {
	switch kind {
	case types.MergePatchType, types.StrategicMergePatchType: // a Scale has no lists, so that both do the same
		return s.changeScale(w, q, func(live []byte) ([]byte, error) { return jsonpatch.MergePatch(live, b) })
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(b)
		if err != nil {
			return errors.NewBadRequest(fmt.Sprintf("read the JSON patch: %v", err))
		}
		return s.changeScale(w, q, p.Apply)
	}
	return unsupportedMedia(q.res, string(kind), string(types.JSONPatchType), string(types.MergePatchType))
}

// changeScale sets the replicas of an object to those of the Scale that change makes of its own.
func (s *Server) changeScale(w http.ResponseWriter, q *request, change func([]byte) ([]byte, error)) error {
	o, err := s.locked(func() (*object, error) {
		return s.edit(q, func(live *object) (map[string]any, error) {
			b, err := change(mustJSON(scaleOf(live)))
			if err != nil {
				return nil, errors.NewBadRequest(fmt.Sprintf("change the Scale: %v", err))
			}
			return rescaled(live, b)
		})
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, scaleOf(o))
	return nil
}

// rescaled is the object with the replicas of a Scale.
func rescaled(live *object, b []byte) (map[string]any, error) {
	var scale autoscalingv1.Scale
	err := kjson.UnmarshalCaseSensitivePreserveInts(b, &scale)
	switch {
	case err != nil:
		return nil, errors.NewBadRequest(fmt.Sprintf("read the Scale: %v", err))
	case scale.Kind != "" && scale.Kind != "Scale":
		return nil, errors.NewBadRequest(fmt.Sprintf("the kind in the data (%s) does not match the expected kind (Scale)", scale.Kind))
	case scale.Name != "" && scale.Name != live.key.name:
		return nil, errors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", scale.Name, live.key.name))
	}
	data := live.copy()
	fields.Child(data, "spec")["replicas"] = int64(scale.Spec.Replicas)
	if scale.ResourceVersion != "" {
		fields.Child(data, "metadata")["resourceVersion"] = scale.ResourceVersion
	}
	return data, nil
}

// serveReview answers a review: whoever asks may do everything.
func (s *Server) serveReview(w http.ResponseWriter, r *http.Request, q *request) error {
	if r.Method != http.MethodPost || q.name != "" {
		return notAllowed(q.res.Plural, r.Method)
	}
	data, err := s.readObject(w, r, q)
	if err != nil {
		return err
	}
	all := []any{"*"}
	switch q.res.Kind {
	case "SelfSubjectRulesReview":
		data["status"] = map[string]any{"incomplete": false,
			"resourceRules":    []any{map[string]any{"verbs": all, "apiGroups": all, "resources": all}},
			"nonResourceRules": []any{map[string]any{"verbs": all, "nonResourceURLs": all}}}
	default:
		data["status"] = map[string]any{"allowed": true, "reason": "this API has no authorization"}
	}
	writeJSON(w, http.StatusCreated, data)
	return nil
}
