package kubeapi

import (
	"bytes"
	stderrors "errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// accept is the form that a client asked for an answer in. The encoding is always JSON.
type accept struct {
	as      string // "", Table, PartialObjectMetadata, PartialObjectMetadataList, APIGroupDiscoveryList
	version string // of as
}

// parseAccept takes the first form in the header that this server has. Protobuf and CBOR are passed over, and a header
// that allows nothing else is answered with plain JSON, which every Kubernetes client reads.
func parseAccept(header string) accept {
	for clause := range strings.SplitSeq(header, ",") {
		media, params, err := mime.ParseMediaType(clause)
		if err != nil || media != "application/json" && media != "*/*" && media != "application/*" {
			continue
		}
		group := params["g"]
		switch as := params["as"]; {
		case as == "":
			return accept{}
		case group == metav1.GroupName && (params["v"] == "v1" || params["v"] == "v1beta1"):
			if as == "Table" || as == "PartialObjectMetadata" || as == "PartialObjectMetadataList" {
				return accept{as, params["v"]}
			}
		case group == "apidiscovery.k8s.io" && as == "APIGroupDiscoveryList" && params["v"] == "v2":
			return accept{as, params["v"]}
		}
	}
	return accept{}
}

func (a accept) table() bool { return a.as == "Table" }

func (a accept) partial() bool { return strings.HasPrefix(a.as, "PartialObjectMetadata") }

func (a accept) contentType() string {
	if a.as == "APIGroupDiscoveryList" {
		return "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	}
	return "application/json"
}

// form is how one object is written for a request.
func (q *request) form(now func() time.Time) func(*object) []byte {
	switch {
	case q.accept.table():
		return func(o *object) []byte {
			return mustJSON(q.asTable(now(), []*object{o}, metav1.ListMeta{ResourceVersion: text(o.data, "metadata", "resourceVersion")}))
		}
	case q.accept.partial():
		return func(o *object) []byte { return mustJSON(o.partial(q.accept.version)) }
	}
	return func(o *object) []byte { return o.json(q.version) }
}

// writeList answers a list in the form asked for.
func (s *Server) writeList(w http.ResponseWriter, q *request, objects []*object, meta metav1.ListMeta) {
	if q.accept.table() {
		writeJSON(w, http.StatusOK, q.asTable(s.now(), objects, meta))
		return
	}
	gvk := q.res.gvk(q.version)
	kind, apiVersion := gvk.Kind+"List", gvk.GroupVersion().String()
	if q.accept.partial() {
		kind, apiVersion = "PartialObjectMetadataList", metav1.GroupName+"/"+q.accept.version
	}
	form := q.form(s.now)
	var b bytes.Buffer
	b.WriteString(`{"kind":"` + kind + `","apiVersion":"` + apiVersion + `","metadata":`)
	b.Write(mustJSON(meta))
	b.WriteString(`,"items":[`)
	for i, o := range objects {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(form(o))
	}
	b.WriteString("]}\n")
	writeBytes(w, http.StatusOK, b.Bytes())
}

func (s *Server) writeObject(w http.ResponseWriter, code int, q *request, o *object) {
	writeBytes(w, code, q.form(s.now)(o))
}

func writeJSON(w http.ResponseWriter, code int, v any) { writeBytes(w, code, mustJSON(v)) }

func writeBytes(w http.ResponseWriter, code int, b []byte) {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(code)
	_, _ = w.Write(b) // a client that has gone cannot be told
}

// statusOf is the Kubernetes Status of an error. An error that is no Status is a fault of this server.
func statusOf(err error) metav1.Status {
	var s errors.APIStatus
	if !stderrors.As(err, &s) {
		s = errors.NewInternalError(err)
	}
	status := s.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	return status
}

func writeError(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	writeJSON(w, int(status.Code), status)
}
