package kubeapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metaschema "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	listvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// request is a request on a resource, with its options checked.
type request struct {
	resourcePath
	res             *Resource
	table           *table
	accept          accept
	includeObject   metav1.IncludeObjectPolicy
	list            *internalversion.ListOptions
	sel             selector
	dryRun          bool
	force           bool
	fieldValidation string
	manager         string
}

func (q *request) key() objectKey { return objectKey{q.namespace, q.name} }

func (q *request) notFound() error { return errors.NewNotFound(q.res.groupResource(), q.name) }

func notFoundPath() error {
	err := errors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, true)
	err.ErrStatus.Message = "the server could not find the requested resource"
	err.ErrStatus.Details = nil
	return err
}

func notAllowed(resource, method string) error {
	return errors.NewMethodNotSupported(schema.GroupResource{Resource: resource}, strings.ToLower(method))
}

// newRequest finds the resource and reads the options of a request.
func (s *Server) newRequest(r *http.Request, p resourcePath) (*request, error) {
	t := s.store.tables[schema.GroupResource{Group: p.group, Resource: p.resource}]
	if t == nil || !t.res.serves(p.version) || !t.res.hasSubresource(p.subresource) || t.res.ClusterScoped && p.namespace != "" {
		return nil, notFoundPath()
	}
	values := r.URL.Query()
	q := &request{resourcePath: p, res: t.res, table: t, accept: parseAccept(r.Header.Get("Accept")), list: &internalversion.ListOptions{}}
	if err := metaschema.ParameterCodec.DecodeParameters(values, metav1.SchemeGroupVersion, q.list); err != nil {
		return nil, errors.NewBadRequest(err.Error())
	}
	if r.Method == http.MethodGet {
		if errs := listvalidation.ValidateListOptions(q.list, true); len(errs) > 0 {
			return nil, errors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
		}
		if q.name != "" { // a watch on one object
			q.list.FieldSelector = fields.OneTermEqualSelector("metadata.name", q.name)
		}
	}
	var err error
	if q.sel, err = newSelector(q.res, q.namespace, q.list.LabelSelector, q.list.FieldSelector); err != nil {
		return nil, err
	}
	q.includeObject = metav1.IncludeObjectPolicy(values.Get("includeObject"))
	q.force = values.Get("force") == "true"
	q.manager = managerOf(values, r.UserAgent())
	if len(q.manager) > 128 {
		return nil, errors.NewBadRequest("fieldManager may not be longer than 128 characters")
	}
	return q, q.readDryRun(values)
}

func (q *request) readDryRun(values url.Values) error {
	for _, v := range values["dryRun"] {
		if v != metav1.DryRunAll {
			return errors.NewBadRequest(fmt.Sprintf("dryRun: unsupported value %q: the only one is %q", v, metav1.DryRunAll))
		}
		q.dryRun = true
	}
	q.fieldValidation = values.Get("fieldValidation")
	allowed := []string{"", metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict}
	if !slices.Contains(allowed, q.fieldValidation) {
		return errors.NewBadRequest(fmt.Sprintf("fieldValidation: unsupported value %q: want Ignore, Warn or Strict", q.fieldValidation))
	}
	return nil
}

// managerOf is the field manager of a request: the one it names, or the program that the user agent names.
func managerOf(values url.Values, userAgent string) string {
	if m := values.Get("fieldManager"); m != "" {
		return m
	}
	name, _, _ := strings.Cut(userAgent, "/")
	name = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, name)
	return name[:min(len(name), 128)]
}

func (s *Server) serveResource(w http.ResponseWriter, r *http.Request, q *request) error {
	if q.res.CreateOnly {
		return s.serveReview(w, r, q)
	}
	switch {
	case r.Method == http.MethodGet && q.list.Watch && q.subresource == "":
		return s.serveWatch(w, r, q)
	case r.Method == http.MethodGet && q.name == "":
		return s.serveList(w, q)
	case q.namespace == "" && !q.res.ClusterScoped:
	case r.Method == http.MethodGet:
		return s.serveGet(w, q)
	case r.Method == http.MethodPost && q.name == "":
		return s.serveCreate(w, r, q)
	case r.Method == http.MethodPut && q.name != "":
		return s.serveUpdate(w, r, q)
	case r.Method == http.MethodPatch && q.name != "":
		return s.servePatch(w, r, q)
	case r.Method == http.MethodDelete && q.subresource == "":
		return s.serveDelete(w, r, q)
	}
	return notAllowed(q.res.Plural, r.Method)
}

func (s *Server) serveGet(w http.ResponseWriter, q *request) error {
	s.store.mu.RLock()
	o, current := q.table.objects[q.key()], s.store.rv
	s.store.mu.RUnlock()
	rv, err := parseRV(q.list.ResourceVersion)
	switch {
	case err != nil:
		return err
	case rv > current:
		return tooLarge(rv, current)
	case o == nil:
		return q.notFound()
	case q.subresource == "scale":
		writeJSON(w, http.StatusOK, scaleOf(o))
		return nil
	}
	s.writeObject(w, http.StatusOK, q, o)
	return nil
}

// page is what a continue token says: the resource version that the list is of, and the last object given.
type page struct {
	RV        uint64 `json:"rv"`
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"name"`
}

func (s *Server) serveList(w http.ResponseWriter, q *request) error {
	rv, err := parseRV(q.list.ResourceVersion)
	if err != nil {
		return err
	}
	exact := q.list.ResourceVersionMatch == metav1.ResourceVersionMatchExact
	var after *page
	if q.list.Continue != "" {
		if after, err = decodePage(q.list.Continue); err != nil {
			return err
		}
		rv, exact = after.RV, true
	}
	s.store.mu.RLock()
	current := s.store.rv
	var objects []*object
	switch {
	case rv > current:
		err = tooLarge(rv, current)
	case exact:
		objects, err = s.store.listAt(q.table, q.sel, rv)
		current = rv
	default:
		objects = q.table.list(q.sel)
	}
	s.store.mu.RUnlock()
	if err != nil {
		return err
	}
	objects, meta := q.paginate(objects, after, current)
	s.writeList(w, q, objects, meta)
	return nil
}

// paginate cuts the page out of a list that the request asks for.
func (q *request) paginate(objects []*object, after *page, rv uint64) ([]*object, metav1.ListMeta) {
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(rv, 10)}
	if after != nil {
		last := objectKey{after.Namespace, after.Name}
		objects = slices.DeleteFunc(objects, func(o *object) bool { return o.key.compare(last) <= 0 })
	}
	limit := int(q.list.Limit)
	if limit <= 0 || len(objects) <= limit {
		return objects, meta
	}
	last := objects[limit-1].key
	meta.Continue = base64.RawURLEncoding.EncodeToString(mustJSON(page{RV: rv, Namespace: last.namespace, Name: last.name}))
	if rest := int64(len(objects) - limit); q.sel.everything() {
		meta.RemainingItemCount = &rest
	}
	return objects[:limit], meta
}

func decodePage(token string) (*page, error) {
	var p page
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("continue key is not valid: %v", err))
	}
	return &p, nil
}

// parseRV reads a resource version; an absent one is 0.
func parseRV(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	rv, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, errors.NewBadRequest(fmt.Sprintf("resourceVersion: invalid value %q: want a number", s))
	}
	return rv, nil
}
