package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"squall/internal/traffic/store"
)

const (
	lookEvery   = 2 * time.Second
	maxWatchers = 64
	beatEvery   = 15 * time.Second
	writeWithin = 10 * time.Second // a browser that reads no more is let go
)

// live tells browsers that there are new records. However many watch, the store is asked once an interval, and not at all while nobody does.
type live struct {
	reader store.Reader
	filter store.Filter
	every  time.Duration
	news   func() // is called before anybody is told

	mu       sync.Mutex
	watchers map[chan time.Time]bool
	newest   time.Time
	stop     context.CancelFunc // of the looking; nil while nobody watches
	end      chan struct{}      // is closed when nothing more comes
	why      string             // the text of the end
	left     chan struct{}      // is closed when the last one has left after it
}

func newLive(opts Options, news func()) *live {
	return &live{
		reader: opts.Reader, filter: store.Filter{Run: opts.Run, Reporter: opts.Reporter}, every: opts.Every, news: news,
		watchers: map[chan time.Time]bool{}, end: make(chan struct{}), left: make(chan struct{}),
	}
}

var (
	errFull = errors.New("too many pages are watching: this one does not update by itself")
	errOver = errors.New("nothing more comes")
)

// watch begins to tell the time of the newest record. The channel holds the last one that was not taken yet.
func (l *live) watch(ctx context.Context) (<-chan time.Time, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over() {
		return nil, nil, errOver
	}
	if len(l.watchers) >= maxWatchers {
		return nil, nil, errFull
	}
	ch := make(chan time.Time, 1)
	if !l.newest.IsZero() { // which may have come after the page was made
		ch <- l.newest
	}
	l.watchers[ch] = true
	if l.stop == nil {
		var looking context.Context
		looking, l.stop = context.WithCancel(context.WithoutCancel(ctx)) // until the last one leaves
		go l.look(looking)
	}
	return ch, func() { l.leave(ch) }, nil
}

func (l *live) leave(ch chan time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.watchers, ch); len(l.watchers) > 0 {
		return
	}
	l.stop()
	l.stop = nil
	if l.over() {
		close(l.left)
	}
}

// over reports whether nothing more comes.
func (l *live) over() bool {
	select {
	case <-l.end:
		return true
	default:
		return false
	}
}

// finish tells what is new for the last time, and why nothing more comes, once.
func (l *live) finish(ctx context.Context, why string) {
	l.mu.Lock()
	watched := len(l.watchers) > 0
	l.mu.Unlock()
	if watched {
		if at, err := l.last(ctx); err == nil && !at.IsZero() {
			l.tell(at)
		}
	}
	l.news() // older records may have come late
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = why
	close(l.end)
	if len(l.watchers) == 0 {
		close(l.left)
	}
}

// idle is closed when nobody watches any more, after finish.
func (l *live) idle() <-chan struct{} { return l.left }

// look asks for the newest record, again and again. A store that does not answer has nothing new.
func (l *live) look(ctx context.Context) {
	t := time.NewTicker(l.every)
	defer t.Stop()
	for {
		if at, err := l.last(ctx); err == nil && !at.IsZero() {
			l.tell(at)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (l *live) last(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	got, err := l.reader.List(ctx, l.filter, store.Page{Limit: 1})
	if err != nil || len(got.Records) == 0 {
		return time.Time{}, err
	}
	return got.Records[0].Time, nil
}

// tell says it to all who watch, if it is news. Who has not taken the one before gets this one instead.
func (l *live) tell(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.Equal(l.newest) {
		return
	}
	l.newest = at
	l.news()
	for ch := range l.watchers {
		select {
		case <-ch:
		default:
		}
		ch <- at
	}
}

// events is the stream of Server-Sent Events: one whenever there are new records, and one when nothing more comes.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	news, leave, err := p.live.watch(r.Context())
	if errors.Is(err, errOver) {
		w.Header().Set("Content-Type", "text/event-stream")
		newStream(w).end(p.live.why)
		return
	}
	if err != nil {
		w.Header().Set("Retry-After", "60")
		p.fail(w, r, http.StatusServiceUnavailable, err)
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	s := newStream(w)
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for ok := s.send("retry: 5000\n\n"); ok; {
		select {
		case <-r.Context().Done():
			return
		case at := <-news:
			ok = s.records(at)
		case <-beat.C:
			ok = s.send(": still here\n\n")
		case <-p.live.end:
			select {
			case at := <-news:
				s.records(at)
			default:
			}
			if s.end(p.live.why) {
				s.linger(r.Context())
			}
			return
		}
	}
}

// stream is a stream of Server-Sent Events. Its methods report whether the client still reads.
type stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func newStream(w http.ResponseWriter) stream { return stream{w, http.NewResponseController(w)} }

func (s stream) send(text string) bool {
	err := s.c.SetWriteDeadline(time.Now().Add(writeWithin))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return false
	}
	if _, err := fmt.Fprint(s.w, text); err != nil {
		return false
	}
	return s.c.Flush() == nil
}

func (s stream) records(at time.Time) bool {
	return s.send(fmt.Sprintf("event: records\ndata: %d\n\n", at.UnixNano()))
}

// end says why nothing more comes, as JSON: a text of any lines is one line.
func (s stream) end(why string) bool {
	b, err := json.Marshal(why)
	return err == nil && s.send(fmt.Sprintf("event: ended\ndata: %s\n\n", b))
}

// linger gives a browser time to load the last state: it leaves when it has.
func (s stream) linger(ctx context.Context) {
	t := time.NewTimer(lastLook)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
