package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	prettytext "github.com/jedib0t/go-pretty/v6/text"
)

// Snapshot is a phase's load while it runs.
type Snapshot struct {
	Phase   string
	Elapsed time.Duration
	Done    int64
	Asked   int64 // 0: by duration
	QPS     float64
	Codes   map[int]int64 // of the answers
	Failed  int64         // without an answer
}

// Progress shows a run while it goes on. It is safe for concurrent use. It is for people only: a failed write is not
// reported and does not disturb the run.
type Progress interface {
	// Phase says that a phase begins: mesh, baseline, a stage, rollback, recovery.
	Phase(name string)
	// Say prints one line that stays.
	Say(format string, args ...any)
	// Load updates the state of the load.
	Load(Snapshot)
	// Done removes what is not to stay. Nothing is shown after it.
	Done()
}

// NewTTY shows one status line of at most width columns that is updated in place, with the lines of Say above it.
func NewTTY(w io.Writer, width int) Progress { return &ttyProgress{w: w, width: width} }

// NewPlain prints lines only: each phase, each Say, and the load at most once in five seconds and at its end.
func NewPlain(w io.Writer) Progress { return &plainProgress{w: w} }

// Quiet shows nothing.
type Quiet struct{}

// Phase shows nothing.
func (Quiet) Phase(string) {}

// Say shows nothing.
func (Quiet) Say(string, ...any) {}

// Load shows nothing.
func (Quiet) Load(Snapshot) {}

// Done ends nothing.
func (Quiet) Done() {}

var (
	_ Progress = (*ttyProgress)(nil)
	_ Progress = (*plainProgress)(nil)
	_ Progress = Quiet{}
)

type ttyProgress struct {
	mu     sync.Mutex
	w      io.Writer
	width  int
	status string
	done   bool
}

const eraseLine = "\r\x1b[K"

func (p *ttyProgress) Phase(name string) { p.show("", clean(name)) }

func (p *ttyProgress) Say(format string, args ...any) {
	p.show(clean(fmt.Sprintf(format, args...))+"\n", "")
}

func (p *ttyProgress) Load(s Snapshot) { p.show("", clean(snapshotLine(s))) }

// show prints a line that stays, if any, and the status below it; an empty status leaves the old one.
func (p *ttyProgress) show(line, status string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return
	}
	if status != "" {
		p.status = status
	}
	shown := p.status
	if p.width > 1 {
		shown = prettytext.Snip(shown, p.width-1, "…")
	}
	_, _ = io.WriteString(p.w, eraseLine+line+shown)
}

func (p *ttyProgress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.done = true
		_, _ = io.WriteString(p.w, eraseLine)
	}
}

// plainEvery is how far a load's elapsed time must have come for a new line.
const plainEvery = 5 * time.Second

type plainProgress struct {
	mu    sync.Mutex
	w     io.Writer
	last  Snapshot // the last one seen
	shown time.Duration
	open  bool // whether last is newer than what was printed
	done  bool
}

func (p *plainProgress) Phase(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLoad()
	p.print("== " + clean(name))
}

func (p *plainProgress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print("   " + clean(fmt.Sprintf(format, args...)))
}

func (p *plainProgress) Load(s Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Phase != p.last.Phase || s.Elapsed < p.last.Elapsed {
		p.endLoad()
		p.shown = 0
	}
	p.last, p.open = s, true
	if s.Elapsed-p.shown >= plainEvery {
		p.shown = s.Elapsed
		p.open = false
		p.print("   " + clean(snapshotLine(s)))
	}
}

func (p *plainProgress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLoad()
	p.done = true
}

// endLoad prints the last state of a load that was not printed yet.
func (p *plainProgress) endLoad() {
	if p.open {
		p.open = false
		p.print("   " + clean(snapshotLine(p.last)))
	}
}

func (p *plainProgress) print(line string) {
	if !p.done {
		_, _ = io.WriteString(p.w, line+"\n")
	}
}

// snapshotLine is "breaker 1.2 s  164/300  4,812/s  200:164 503:136".
func snapshotLine(s Snapshot) string {
	done := formatCount(s.Done)
	if s.Asked > 0 {
		done += "/" + formatCount(s.Asked)
	}
	codes := make([]string, 0, len(s.Codes))
	for _, c := range slices.Sorted(maps.Keys(s.Codes)) {
		codes = append(codes, strconv.Itoa(c)+":"+formatCount(s.Codes[c]))
	}
	if s.Failed > 0 {
		codes = append(codes, "no answer:"+formatCount(s.Failed))
	}
	return fmt.Sprintf("%s %.1f s  %s  %s/s  %s", s.Phase, s.Elapsed.Seconds(), done, formatNumber(roundTo(s.QPS, 0)), strings.Join(codes, " "))
}
