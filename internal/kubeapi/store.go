package kubeapi

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// store holds every object, the recent changes, and who watches. One resource version counts the writes of all resources.
type store struct {
	mu      sync.RWMutex
	rv      uint64
	tables  map[schema.GroupResource]*table
	history int // changes kept for each resource, at least
	queue   int // changes that may wait for one watch
}

type table struct {
	res     *Resource
	objects map[objectKey]*object
	changes []change // oldest first
	lost    uint64   // resource version of the newest change that is no longer kept
	watches map[*watcher]struct{}
}

// change is a write: old is nil for a create, new is nil for a delete.
type change struct {
	rv       uint64
	old, new *object
}

// watchEvent is a change as one watch sees it.
type watchEvent struct {
	kind string // ADDED, MODIFIED or DELETED
	o    *object
}

// watcher is one client's watch. Its queue is closed when the client is too slow to follow.
type watcher struct {
	sel   selector
	queue chan watchEvent
}

func newStore(resources []Resource, history, queue int) *store {
	s := &store{tables: map[schema.GroupResource]*table{}, history: history, queue: queue}
	for i := range resources {
		r := &resources[i]
		s.tables[r.groupResource()] = &table{res: r, objects: map[objectKey]*object{}, watches: map[*watcher]struct{}{}}
	}
	return s
}

// seen is what a watch with this selector is told of a change, if anything. An object that starts or stops matching
// the selector is added or deleted for that watch.
func (c change) seen(sel selector) (watchEvent, bool) {
	before, after := sel.matches(c.old), sel.matches(c.new)
	switch {
	case before && after:
		return watchEvent{"MODIFIED", c.new}, true
	case after:
		return watchEvent{"ADDED", c.new}, true
	case before:
		return watchEvent{"DELETED", c.old.at(c.rv)}, true
	}
	return watchEvent{}, false
}

// put stores data as the next revision of its object. The caller holds mu.
func (s *store) put(t *table, data map[string]any) *object {
	s.rv++
	o := newObject(t.res, data, s.rv)
	s.record(t, change{rv: s.rv, old: t.objects[o.key], new: o})
	t.objects[o.key] = o
	return o
}

// remove deletes an object, and returns it as its watches are told of it. The caller holds mu.
func (s *store) remove(t *table, o *object) *object {
	s.rv++
	delete(t.objects, o.key)
	s.record(t, change{rv: s.rv, old: o})
	return o.at(s.rv)
}

// record keeps a change and hands it to the watches. A watch whose queue is full ends: its client reads what is
// queued, and watches again from there. The caller holds mu.
func (s *store) record(t *table, c change) {
	t.changes = append(t.changes, c)
	if len(t.changes) > 2*s.history {
		cut := len(t.changes) - s.history
		t.lost = t.changes[cut-1].rv
		t.changes = slices.Clone(t.changes[cut:])
	}
	for w := range t.watches {
		e, ok := c.seen(w.sel)
		if !ok {
			continue
		}
		select {
		case w.queue <- e:
		default:
			delete(t.watches, w)
			close(w.queue)
		}
	}
}

// list is the objects of a resource that match, in order. The caller holds mu, for reading at least.
func (t *table) list(sel selector) []*object {
	return listed(t.objects, sel)
}

func listed(objects map[objectKey]*object, sel selector) []*object {
	var out []*object
	for _, o := range objects {
		if sel.matches(o) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *object) int { return a.key.compare(b.key) })
	return out
}

// listAt lists the objects as they were at a resource version, by taking the newer changes back. The caller holds mu.
func (s *store) listAt(t *table, sel selector, rv uint64) ([]*object, error) {
	if err := s.checkRV(t, rv); err != nil {
		return nil, err
	}
	objects := make(map[objectKey]*object, len(t.objects))
	for k, o := range t.objects {
		objects[k] = o
	}
	for _, c := range slices.Backward(t.changes) {
		if c.rv <= rv {
			break
		}
		switch {
		case c.old != nil:
			objects[c.old.key] = c.old
		case c.new != nil:
			delete(objects, c.new.key)
		}
	}
	return listed(objects, sel), nil
}

// checkRV refuses a resource version that is older than the kept changes (410) or was never given out (504).
func (s *store) checkRV(t *table, rv uint64) error {
	if rv > s.rv {
		return tooLarge(rv, s.rv)
	}
	if rv < t.lost {
		return errors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", rv, t.lost))
	}
	return nil
}

// tooLarge is the answer to a resource version of the future, most often one of another server at the same address. It
// names no time to retry after, so that client-go lists again at once, where Kubernetes would wait for the version.
func tooLarge(rv, current uint64) error {
	err := errors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", rv, current), 0)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// watchStart says where a watch begins.
type watchStart struct {
	rv      uint64 // changes after this one; with current, only checked
	current bool   // begin with the objects that there are now, as added
	now     bool   // begin with the next change
}

// watch starts a watch and returns the events it begins with and the resource version that they lead up to. end must
// be called once.
func (s *store) watch(t *table, sel selector, start watchStart) (w *watcher, first []watchEvent, rv uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case start.rv > s.rv:
		return nil, nil, 0, tooLarge(start.rv, s.rv)
	case start.current:
		for _, o := range t.list(sel) {
			first = append(first, watchEvent{"ADDED", o})
		}
	case !start.now:
		if err := s.checkRV(t, start.rv); err != nil {
			return nil, nil, 0, err
		}
		for _, c := range t.changes {
			if e, ok := c.seen(sel); ok && c.rv > start.rv {
				first = append(first, e)
			}
		}
	}
	w = &watcher{sel: sel, queue: make(chan watchEvent, s.queue)}
	t.watches[w] = struct{}{}
	return w, first, s.rv, nil
}

// end forgets a watch.
func (s *store) end(t *table, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(t.watches, w)
}

// caughtUp is the resource version up to which the watch has taken every event, if there is none in its queue.
func (s *store) caughtUp(w *watcher) (uint64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rv, len(w.queue) == 0
}
