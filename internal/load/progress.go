package load

import (
	"sync/atomic"

	"squall/internal/record"
)

// Progress counts a load's calls while it runs. Its zero value is ready, and it is safe for concurrent use.
type Progress struct {
	codes  [600]atomic.Int64
	others atomic.Int64 // codes beyond
	failed atomic.Int64
}

// Snapshot is what a load has done so far.
type Snapshot struct {
	Count  int64         // finished calls
	Failed int64         // of these, calls without an answer
	Codes  map[int]int64 // calls with an answer, by HTTP or gRPC status; -1: beyond 599
}

// Add counts one finished call.
func (p *Progress) Add(q record.Request) { p.add(q.Code, q.Error != "") }

func (p *Progress) add(code int, failed bool) {
	switch {
	case failed:
		p.failed.Add(1)
	case code < 0 || code >= len(p.codes):
		p.others.Add(1)
	default:
		p.codes[code].Add(1)
	}
}

// Snapshot reads the counters. Calls that finish meanwhile may or may not be in it; Count is the sum of the others.
func (p *Progress) Snapshot() Snapshot {
	s := Snapshot{Failed: p.failed.Load(), Codes: map[int]int64{}}
	s.Count = s.Failed
	for code := range p.codes {
		if n := p.codes[code].Load(); n > 0 {
			s.Codes[code] = n
			s.Count += n
		}
	}
	if n := p.others.Load(); n > 0 {
		s.Codes[-1] = n
		s.Count += n
	}
	return s
}
