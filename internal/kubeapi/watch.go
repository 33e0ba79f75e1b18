package kubeapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// bookmarkEvery is how often a watch that asked for bookmarks is told how far it is.
	bookmarkEvery = 30 * time.Second
	// slowWrite is how long one event may take to be written before the connection is given up.
	slowWrite = 30 * time.Second
)

// serveWatch streams changes until the client leaves, the server ends, timeoutSeconds pass or the client is too slow.
func (s *Server) serveWatch(w http.ResponseWriter, r *http.Request, q *request) error {
	start, err := startOf(q.list)
	if err != nil {
		return err
	}
	wt, first, rv, err := s.store.watch(q.table, q.sel, start)
	if err != nil {
		return s.refuseWatch(w, err)
	}
	defer s.store.end(q.table, wt)
	ctx := r.Context()
	if q.list.TimeoutSeconds != nil && *q.list.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*q.list.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	st := newStream(w, q, s.now)
	defer st.close()
	for _, e := range first {
		st.write(e.kind, e.o)
	}
	if start.current && q.list.SendInitialEvents != nil && q.list.AllowWatchBookmarks {
		st.bookmark(rv, true)
	}
	if st.flush() != nil {
		return nil // the client has gone: there is nobody to tell
	}
	s.follow(ctx, wt, st)
	return nil
}

// follow writes events as they come.
func (s *Server) follow(ctx context.Context, wt *watcher, st *stream) {
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-wt.queue:
			if !ok {
				return
			}
			st.write(e.kind, e.o)
		case <-tick.C:
			s.mark(wt, st)
		case <-ctx.Done():
			s.mark(wt, st)
			return
		}
		if st.flush() != nil {
			return
		}
	}
}

// mark sends a bookmark to a watch that wants them and has no event waiting.
func (s *Server) mark(wt *watcher, st *stream) {
	if rv, ok := s.store.caughtUp(wt); ok && st.q.list.AllowWatchBookmarks {
		st.bookmark(rv, false)
		_ = st.flush() // a client that has gone is noticed by whoever writes next, or by its context
	}
}

// refuseWatch answers as Kubernetes does: with a stream that holds one error.
func (s *Server) refuseWatch(w http.ResponseWriter, err error) error {
	status := statusOf(err)
	if status.Code != http.StatusGone {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(append(mustJSON(map[string]any{"type": "ERROR", "object": status}), '\n'))
	return nil
}

// startOf reads where a watch begins from its options.
func startOf(o *internalversion.ListOptions) (watchStart, error) {
	rv, err := parseRV(o.ResourceVersion)
	if err != nil {
		return watchStart{}, err
	}
	switch {
	case o.SendInitialEvents != nil && *o.SendInitialEvents:
		return watchStart{rv: rv, current: true}, nil
	case o.SendInitialEvents != nil && rv == 0:
		return watchStart{now: true}, nil
	case rv == 0:
		return watchStart{current: true}, nil
	}
	return watchStart{rv: rv}, nil
}

// stream writes watch events in the form that the client asked for. After an error it writes nothing more, and flush
// returns the error.
type stream struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	q    *request
	form func(*object) []byte
	err  error
}

func newStream(w http.ResponseWriter, q *request, now func() time.Time) *stream {
	w.Header().Set("Content-Type", q.accept.contentType())
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, ctl: http.NewResponseController(w), q: q, form: q.form(now)}
}

func (s *stream) write(kind string, o *object) { s.raw(kind, s.form(o)) }

func (s *stream) raw(kind string, object []byte) {
	if s.err != nil {
		return
	}
	b := make([]byte, 0, len(object)+len(kind)+32)
	b = append(b, `{"type":"`...)
	b = append(b, kind...)
	b = append(b, `","object":`...)
	b = append(b, object...)
	b = append(b, '}', '\n')
	_ = s.ctl.SetWriteDeadline(time.Now().Add(slowWrite)) // not every writer has deadlines
	_, s.err = s.w.Write(b)
}

// bookmark tells the client how far it is. last marks the end of the initial events.
func (s *stream) bookmark(rv uint64, last bool) {
	meta := map[string]any{"resourceVersion": strconv.FormatUint(rv, 10)}
	if last {
		meta["annotations"] = map[string]any{metav1.InitialEventsAnnotationKey: "true"}
	}
	gvk := s.q.res.gvk(s.q.version)
	data := map[string]any{"kind": gvk.Kind, "apiVersion": gvk.GroupVersion().String(), "metadata": meta}
	s.raw("BOOKMARK", s.form(&object{res: s.q.res, data: data, raw: func() []byte { return mustJSON(data) }}))
}

func (s *stream) flush() error {
	if s.err == nil {
		s.err = s.ctl.Flush()
	}
	return s.err
}

// close lets the connection be used again.
func (s *stream) close() { _ = s.ctl.SetWriteDeadline(time.Time{}) }
