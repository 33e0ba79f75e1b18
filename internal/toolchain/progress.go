package toolchain

import (
	"fmt"
	"io"
	"time"
)

const (
	progressEvery = time.Second
	linesEvery    = 30 * time.Second
)

// Update is what goes on with one program.
type Update struct {
	Tool     Name
	Activity string        // "building istiod (first time only, about 4 minutes on 2 cores)"
	Detail   string        // "412 packages compiled", may be empty
	Elapsed  time.Duration // since the activity began
	Done     bool          // the last one of this activity
	Err      error         // how it ended, with Done
}

// String is the update as one line: "building istiod (first time only, about 4 minutes on 2 cores)… 37 s, 412 packages compiled".
func (u Update) String() string {
	s := fmt.Sprintf("%s… %.0f s", u.Activity, u.Elapsed.Seconds())
	switch {
	case u.Done && u.Err != nil:
		return s + ", failed"
	case u.Done:
		return s + ", done"
	case u.Detail != "":
		return s + ", " + u.Detail
	}
	return s
}

// Lines returns a Progress that writes to a log: the begin and the end of each activity, and one line every 30 s between.
// Write errors are ignored.
func Lines(w io.Writer) func(Update) {
	last := map[Name]time.Duration{}
	return func(u Update) {
		since, begun := last[u.Tool]
		if begun && !u.Done && u.Elapsed >= since && u.Elapsed < since+linesEvery {
			return
		}
		last[u.Tool] = u.Elapsed
		if u.Done {
			delete(last, u.Tool)
		}
		_, _ = fmt.Fprintln(w, u.String())
	}
}

// track reports activity now, every second, and once more when the returned function is called with its outcome.
func (in *installer) track(r recipe, activity func() string) (done func(error)) {
	return in.trackDetail(r, activity(), func() string { return "" })
}

// trackDetail is track with something that changes.
func (in *installer) trackDetail(r recipe, activity string, detail func() string) (done func(error)) {
	return Track(func(u Update) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.opts.Progress(u)
	}, Update{Tool: r.name, Activity: activity}, detail)
}

// Track reports an activity now, every second with what detail then says, and once more when the returned function is called with
// its outcome.
func Track(progress func(Update), of Update, detail func() string) (done func(error)) {
	begin := time.Now()
	report := func(last bool, err error) {
		progress(Update{of.Tool, of.Activity, detail(), time.Since(begin), last, err})
	}
	report(false, nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				report(false, nil)
			case <-stop:
				return
			}
		}
	}()
	return func(err error) {
		close(stop)
		<-stopped
		report(true, err)
	}
}
