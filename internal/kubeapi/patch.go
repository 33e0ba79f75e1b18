package kubeapi

import (
	stderrors "errors"
	"fmt"
	"net/http"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// maxOperations is the length of the longest JSON patch, as in Kubernetes.
const maxOperations = 10000

func (s *Server) servePatch(w http.ResponseWriter, r *http.Request, q *request) error {
	b, media, err := readBody(w, r)
	if err != nil {
		return err
	}
	kind := types.PatchType(media)
	if q.subresource == "scale" {
		return s.patchScale(w, q, kind, b)
	}
	if kind == types.ApplyYAMLPatchType {
		return s.serveApply(w, r, q, b)
	}
	patch, err := s.patcher(q, kind, b)
	if err != nil {
		return err
	}
	o, err := s.locked(func() (*object, error) {
		return s.edit(q, func(live *object) (map[string]any, error) {
			data, err := patch(live.in(q.version))
			if err != nil {
				return nil, err
			}
			return data, s.admit(w, q, data, nil)
		})
	})
	if err != nil {
		return err
	}
	s.writeObject(w, http.StatusOK, q, o)
	return nil
}

// patcher reads a patch. The function that it returns makes the patched copy of an object.
func (s *Server) patcher(q *request, kind types.PatchType, b []byte) (func(map[string]any) (map[string]any, error), error) {
	switch kind {
	case types.JSONPatchType:
		return jsonPatcher(q, b)
	case types.MergePatchType:
		if _, _, err := decodeJSON(b); err != nil {
			return nil, err
		}
		return func(live map[string]any) (map[string]any, error) {
			return patched(jsonpatch.MergePatch(mustJSON(live), b))
		}, nil
	case types.StrategicMergePatchType:
		if s.schemas.isCustom(q.res) || !scheme.Scheme.Recognizes(q.res.gvk(q.version)) {
			break
		}
		return strategicPatcher(q, b)
	}
	allowed := []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}
	if !s.schemas.isCustom(q.res) {
		allowed = append(allowed, string(types.StrategicMergePatchType))
	}
	return nil, unsupportedMedia(q.res, string(kind), allowed...)
}

func jsonPatcher(q *request, b []byte) (func(map[string]any) (map[string]any, error), error) {
	p, err := jsonpatch.DecodePatch(b)
	if err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("read the JSON patch: %v", err))
	}
	if len(p) > maxOperations {
		return nil, errors.NewRequestEntityTooLargeError(fmt.Sprintf("a JSON patch may have %d operations, not %d", maxOperations, len(p)))
	}
	return func(live map[string]any) (map[string]any, error) {
		out, err := p.Apply(mustJSON(live))
		if stderrors.Is(err, jsonpatch.ErrTestFailed) || stderrors.Is(err, jsonpatch.ErrMissing) {
			refused := errors.NewGenericServerResponse(http.StatusUnprocessableEntity, "patch", q.res.groupResource(), q.name, "", 0, false)
			refused.ErrStatus.Message = fmt.Sprintf("the JSON patch does not fit %s %q: %v", q.res.Kind, q.name, err)
			return nil, refused
		}
		return patched(out, err)
	}, nil
}

func strategicPatcher(q *request, b []byte) (func(map[string]any) (map[string]any, error), error) {
	typed, err := scheme.Scheme.New(q.res.gvk(q.version))
	if err != nil {
		return nil, fmt.Errorf("type of %s: %w", q.res.Kind, err)
	}
	if _, _, err := decodeJSON(b); err != nil {
		return nil, err
	}
	return func(live map[string]any) (map[string]any, error) {
		return patched(strategicpatch.StrategicMergePatch(mustJSON(live), b, typed))
	}, nil
}

func patched(b []byte, err error) (map[string]any, error) {
	var data map[string]any
	if err == nil {
		err = kjson.Unmarshal(b, &data)
	}
	if err == nil && data == nil {
		err = fmt.Errorf("nothing is left of the object")
	}
	if err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("apply the patch: %v", err))
	}
	return data, nil
}

// serveApply is server-side apply: it creates the object, or merges into it what the manager wants.
func (s *Server) serveApply(w http.ResponseWriter, r *http.Request, q *request, b []byte) error {
	if r.URL.Query().Get("fieldManager") == "" {
		return errors.NewBadRequest("PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch")
	}
	applied, err := s.decodeObject(w, q, b, string(types.ApplyYAMLPatchType))
	if err != nil {
		return err
	}
	code := 0
	o, err := s.locked(func() (o *object, err error) {
		o, code, err = s.apply(q, applied)
		return o, err
	})
	if err != nil {
		return err
	}
	s.writeObject(w, code, q, o)
	return nil
}

// apply merges an applied configuration. The caller holds the store's lock.
func (s *Server) apply(q *request, applied map[string]any) (*object, int, error) {
	live := q.table.objects[q.key()]
	if live == nil {
		switch {
		case q.subresource != "":
			return nil, 0, q.notFound()
		case text(applied, "metadata", "uid") != "":
			return nil, 0, errors.NewConflict(q.res.groupResource(), q.name, fmt.Errorf(
				"uid mismatch: the provided object specified uid %s, and no existing object was found", text(applied, "metadata", "uid")))
		}
	} else if err := checkRevision(q, live, applied); err != nil {
		return nil, 0, err
	}
	data, err := s.managers.apply(q, live, applied)
	if err != nil {
		return nil, 0, err
	}
	if live == nil {
		o, err := s.insert(q, data, false)
		return o, http.StatusCreated, err
	}
	o, err := s.replace(q, live, data, false)
	return o, http.StatusOK, err
}
