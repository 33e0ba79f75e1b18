package report

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"squall/internal/record"
)

const (
	maxBuckets = 120
	maxAnswers = 24
	maxRows    = 48
	maxKeys    = 1024 // rows that are counted apart before the rest is summed up

	binsPerDecade = 20
	binFloor      = 1e-6 // seconds
	binCount      = 10 * binsPerDecade
	hdrMax        = int64(3600e9) // nanoseconds
	hdrDigits     = 3
)

type answerKey struct {
	code int
	err  string
}

type rowKey struct {
	answerKey
	flags, version string
}

// aggregator folds a stream of samples of any length into fixed-size sums.
type aggregator struct {
	data    PhaseData
	started bool
	end     float64 // of the load; 0 when it is not known
	answers map[answerKey]int
	rows    map[rowKey]int64
	rest    int64
	bins    [][]int64
	hdr     *hdrhistogram.Histogram
}

// newAggregator takes the phase's load to place the buckets; without one they start at the first sample and widen.
func newAggregator(name string, load *record.Load) *aggregator {
	a := &aggregator{
		data:    PhaseData{Name: name, Load: load, Width: 1e-3},
		answers: map[answerKey]int{},
		rows:    map[rowKey]int64{},
		bins:    make([][]int64, binCount),
		hdr:     hdrhistogram.New(100, hdrMax, hdrDigits),
	}
	if load != nil {
		a.data.Start, a.started = load.Start, true
		if n := min(60, max(12, load.Count/6)); load.Seconds > 0 {
			a.data.Width = load.Seconds / float64(n)
			a.end = load.Start + load.Seconds
		}
	}
	return a
}

func (a *aggregator) add(s record.Sample) {
	a.data.Count++
	i := a.answer(answerKey{s.Code, s.Error})
	a.data.Answers[i].Count++
	a.addTime(s.Start, i)
	a.addLatency(s.Latency, i)
	a.addRow(s)
}

func (a *aggregator) answer(k answerKey) int {
	if i, ok := a.answers[k]; ok {
		return i
	}
	if len(a.data.Answers) >= maxAnswers-1 {
		k = answerKey{err: "other"}
		if i, ok := a.answers[k]; ok {
			return i
		}
	}
	i := len(a.data.Answers)
	a.answers[k] = i
	a.data.Answers = append(a.data.Answers, Answer{Code: k.code, Error: k.err})
	return i
}

// addTime counts a sample that started before the first bucket into the first.
func (a *aggregator) addTime(start float64, answer int) {
	if !a.started {
		a.data.Start, a.started = start, true
	}
	if start == a.end {
		start -= a.data.Width / 2 // the last bucket includes the end
	}
	at := func() int { return int(max(0, math.Floor((start-a.data.Start)/a.data.Width))) }
	for at() >= maxBuckets {
		a.widen()
	}
	for len(a.data.Buckets) <= at() {
		a.data.Buckets = append(a.data.Buckets, nil)
	}
	bump(&a.data.Buckets[at()], answer)
}

// widen doubles the buckets' width and merges them in pairs.
func (a *aggregator) widen() {
	a.data.Width *= 2
	old := a.data.Buckets
	merged := old[:0]
	for i := 0; i < len(old); i += 2 {
		b := old[i]
		if i+1 < len(old) {
			for j, n := range old[i+1] {
				if n > 0 {
					add(&b, j, n)
				}
			}
		}
		merged = append(merged, b)
	}
	a.data.Buckets = merged
}

func (a *aggregator) addLatency(seconds float64, answer int) {
	ns := hdrMax
	if seconds*1e9 < float64(hdrMax) {
		ns = max(0, int64(seconds*1e9))
	}
	if err := a.hdr.RecordValue(ns); err != nil {
		a.data.Latency.OutOfRange++
	}
	l := &a.data.Latency
	if l.Count == 0 || seconds < l.Min {
		l.Min = seconds
	}
	l.Max = max(l.Max, seconds)
	l.Count++
	bump(&a.bins[binOf(seconds)], answer)
}

func binOf(seconds float64) int {
	if !(seconds > binFloor) {
		return 0
	}
	return min(binCount-1, int(math.Log10(seconds/binFloor)*binsPerDecade))
}

func binStart(i int) float64 { return binFloor * math.Pow(10, float64(i)/binsPerDecade) }

func (a *aggregator) addRow(s record.Sample) {
	flags := strings.Join(s.Flags, ",")
	if !s.Joined {
		a.data.Unjoined++
		flags = "?"
	}
	k := rowKey{answerKey{s.Code, s.Error}, flags, s.Answered}
	if _, ok := a.rows[k]; !ok && len(a.rows) >= maxKeys {
		a.rest++
		return
	}
	a.rows[k]++
}

// result ends the aggregation; the aggregator is not used after it.
func (a *aggregator) result() PhaseData {
	a.sortAnswers()
	a.fillRows()
	l := &a.data.Latency
	l.SignificantFigures = hdrDigits
	if l.Count == 0 {
		return a.data
	}
	quantile := func(q float64) float64 {
		return min(l.Max, max(l.Min, float64(a.hdr.ValueAtQuantile(q))/1e9))
	}
	l.P50, l.P90, l.P99 = quantile(50), quantile(90), quantile(99)
	first := slices.IndexFunc(a.bins, func(c []int64) bool { return c != nil })
	for i := first; i <= binOf(l.Max); i++ {
		l.Bins = append(l.Bins, Bin{Lo: binStart(i), Hi: binStart(i + 1), Counts: a.bins[i]})
	}
	return a.data
}

// sortAnswers puts answers in the order of their codes, errors last, and the counts of all columns with them.
func (a *aggregator) sortAnswers() {
	order := make([]int, len(a.data.Answers))
	for i := range order {
		order[i] = i
	}
	old := a.data.Answers
	slices.SortFunc(order, func(i, j int) int {
		x, y := old[i], old[j]
		return cmp.Or(compareBool(x.Error != "", y.Error != ""), cmp.Compare(x.Code, y.Code), cmp.Compare(x.Error, y.Error))
	})
	arrange := func(counts []int64) []int64 {
		if counts == nil {
			return nil
		}
		out := make([]int64, len(order))
		for to, from := range order {
			if from < len(counts) {
				out[to] = counts[from]
			}
		}
		return out
	}
	sorted := make([]Answer, len(order))
	for to, from := range order {
		sorted[to] = old[from]
	}
	a.data.Answers = sorted
	for i := range a.data.Buckets {
		a.data.Buckets[i] = arrange(a.data.Buckets[i])
	}
	for i := range a.bins {
		a.bins[i] = arrange(a.bins[i])
	}
}

func (a *aggregator) fillRows() {
	rows := make([]Row, 0, len(a.rows))
	for k, n := range a.rows {
		rows = append(rows, Row{Code: k.code, Error: k.err, Flags: k.flags, Version: k.version, Count: n})
	}
	slices.SortFunc(rows, func(x, y Row) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Code, y.Code), cmp.Compare(x.Error, y.Error),
			cmp.Compare(x.Flags, y.Flags), cmp.Compare(x.Version, y.Version))
	})
	rest := a.rest
	if len(rows) > maxRows-1 {
		for _, r := range rows[maxRows-1:] {
			rest += r.Count
		}
		rows = rows[:maxRows-1]
	}
	if rest > 0 {
		rows = append(rows, Row{Count: rest, Rest: true})
	}
	a.data.Rows = rows
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

func bump(counts *[]int64, i int) { add(counts, i, 1) }

func add(counts *[]int64, i int, n int64) {
	for len(*counts) <= i {
		*counts = append(*counts, 0)
	}
	(*counts)[i] += n
}
