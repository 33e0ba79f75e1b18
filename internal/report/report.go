// Package report renders a judged run: as an HTML page, as JUnit XML, as text for a terminal, as GitHub Markdown and
// annotations, and as result.json with its JSON Schema. Renderers are func(io.Writer, value) error; they never judge,
// and what was not measured is shown as absent, never as 0. The package also owns the live progress of a run.
package report

import (
	"squall/internal/check"
	"squall/internal/record"
)

// Data is all that a report shows. Collect makes it from a run's folder.
type Data struct {
	Result   check.Result
	Manifest record.Manifest
	Spec     check.Spec
	Events   []record.Event
	// EventsLeftOut counts events in the middle that events.ndjson has and Events has not.
	EventsLeftOut int
	Phases        []PhaseData // in the order of Result.Phases
	Objects       []record.Object
	Proxies       []record.Proxy
	// Dir is the run's folder as readers of the report should name it.
	Dir string
	// Traffic is the name of the file beside the report that shows the run's interface traffic, empty when there is none.
	Traffic string
	// Missing says what could not be read, one sentence each. The reports print it.
	Missing []string
}

// PhaseData is the load of one phase, aggregated to a size that does not depend on the number of requests.
type PhaseData struct {
	Name     string
	Load     *record.Load // nil when none was recorded
	Count    int64        // samples that were read
	Unjoined int64        // samples for which no access log entry was found
	Answers  []Answer     // the kinds of answers: the columns of Buckets and Bins
	Start    float64      // of the first bucket, in seconds since the run's start
	Width    float64      // of a bucket, in seconds
	Buckets  [][]int64    // answers by time of the request's start; at most maxBuckets
	Latency  Latency
	Rows     []Row // by descending count; at most maxRows, the last one may be the rest
}

// Answer is a kind of answer: a status code, or the kind of error where no answer came.
type Answer struct {
	Code  int
	Error string // as in record.Request; "other" with Code 0 also holds what is beyond maxAnswers kinds
	Count int64
}

// Latency is the distribution of the latency of all samples. Times are seconds. Percentiles have three significant
// digits; they are for reading, the checks have exact ones.
type Latency struct {
	Bins               []Bin // logarithmic, adjacent, from the least to the greatest latency
	Min, Max           float64
	P50, P90, P99      float64
	Count              int64 // 0: the other fields mean nothing
	OutOfRange         int64 // samples above the greatest latency that the histogram can hold, counted as that
	SignificantFigures int
}

// Bin is one column of the histogram.
type Bin struct {
	Lo, Hi float64
	Counts []int64 // by Answer
}

// Row counts the samples that agree in code, error, response flags and answering version.
type Row struct {
	Code    int
	Error   string
	Flags   string // comma separated; "" when none, "?" when no access log entry was found
	Version string
	Count   int64
	Rest    bool // all that is beyond maxRows; the other fields but Count are empty
}
