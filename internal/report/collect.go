package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"squall/internal/check"
	"squall/internal/record"
)

// maxEvents bounds the events that a report holds: of more, the first and the last half of it are kept.
const maxEvents = 1000

// Collect reads what a report of the run shows; each phase's samples are read once and never held. The Data can be
// rendered also when the error is not nil: Data.Missing then says what is wrong. A file that is absent, as a killed
// run leaves them, is noted in Missing and is no error.
func Collect(run *record.Run, result check.Result) (Data, error) {
	c := collector{run: run, data: Data{Result: result, Dir: run.Dir()}}
	c.note(record.ManifestFile, run.ReadJSON(record.ManifestFile, &c.data.Manifest))
	c.note(record.SpecFile, run.ReadJSON(record.SpecFile, &c.data.Spec))
	c.note(record.ObjectsFile, run.ReadJSON(record.ObjectsFile, &c.data.Objects))
	var err error
	c.data.Proxies, err = run.Proxies()
	c.note(record.ProxiesFile, err)
	c.events()
	if _, err := os.Stat(run.Path(record.TrafficPage)); err == nil {
		c.data.Traffic = record.TrafficPage
	}
	for _, p := range result.Phases {
		c.phase(p.Name)
	}
	return c.data, errors.Join(c.errs...)
}

type collector struct {
	run  *record.Run
	data Data
	errs []error
}

func (c *collector) note(what string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		c.data.Missing = append(c.data.Missing, what+" was not written")
	default:
		c.data.Missing = append(c.data.Missing, fmt.Sprintf("%s cannot be read: %v", what, err))
		c.errs = append(c.errs, fmt.Errorf("read %s for the report: %w", what, err))
	}
}

// noteFirst notes the first of n errors and how many they are, so that a file full of damage stays one sentence.
func (c *collector) noteFirst(what string, n int, first error) {
	if n > 1 {
		first = fmt.Errorf("%w (the first of %d errors)", first, n)
	}
	c.note(what, first)
}

func (c *collector) phase(name string) {
	var load *record.Load
	l, err := c.run.Load(name)
	if err == nil {
		load = &l
	}
	c.note("the load of phase "+name, err)
	a := newAggregator(name, load)
	var first error
	n := 0
	for s, err := range c.run.Samples(name) {
		if err != nil {
			if n++; first == nil {
				first = err
			}
			continue
		}
		a.add(s)
	}
	c.noteFirst("a record of the requests of phase "+name, n, first)
	c.data.Phases = append(c.data.Phases, a.result())
}

func (c *collector) events() {
	var first error
	n := 0
	var head, tail []record.Event
	for e, err := range c.run.ReadEvents() {
		switch {
		case err != nil:
			if n++; first == nil {
				first = err
			}
		case len(head) < maxEvents/2:
			head = append(head, e)
		default:
			tail = append(tail, e)
			if len(tail) > maxEvents {
				c.data.EventsLeftOut += len(tail) - maxEvents/2
				tail = append(tail[:0], tail[len(tail)-maxEvents/2:]...)
			}
		}
	}
	if over := len(tail) - maxEvents/2; over > 0 {
		c.data.EventsLeftOut += over
		tail = tail[over:]
	}
	c.data.Events = append(head, tail...)
	c.noteFirst(record.EventsFile, n, first)
}
