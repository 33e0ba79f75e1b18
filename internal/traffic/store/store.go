// Package store is what a store of interface-traffic records does, wherever it keeps them, and how it accounts for them: what was
// received is stored, known already, dropped for a stated reason, or still pending.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"squall/internal/traffic"
)

// ErrClosed says that a store takes no more records.
var ErrClosed = errors.New("the store of records is closed")

// Writer takes records.
type Writer interface {
	// Put hands records over; the slice may be used again when it returns. It waits while the store has no room, and its errors are the
	// context's and ErrClosed. What then becomes of the records, Account says.
	Put(ctx context.Context, records []traffic.Record) error
	// Flush returns when what was put before is no longer pending.
	Flush(ctx context.Context) error
	Account() Account
	// Close flushes until ctx is done, and drops what is then pending. It returns an error that says how many were.
	Close(ctx context.Context) error
}

// Reader answers questions about records. It sees what was stored when a call begins.
type Reader interface {
	// Groups sums up the records of a filter for each value of the dimensions, sorted by their values. Without dimensions there is one
	// group, or none when there are no records.
	Groups(ctx context.Context, filter Filter, by ...Dimension) ([]Group, error)
	// Timeline is the number of records and of errors of a filter's window in at most n steps of equal length, of whole multiples of 10 s.
	Timeline(ctx context.Context, filter Filter, n int, by ...Dimension) ([]Timeline, error)
	// List is one page of the records of a filter.
	List(ctx context.Context, filter Filter, page Page) (Listing, error)
}

// Store is both.
type Store interface {
	Writer
	Reader
}

// Series is what few records differ in: the labels that records are grouped and filtered by.
type Series struct {
	Run             string           `json:"run,omitempty"`
	Stage           string           `json:"stage,omitempty"`
	Reporter        traffic.Reporter `json:"reporter,omitempty"`
	SourceNamespace string           `json:"sourceNamespace,omitempty"`
	Source          string           `json:"source,omitempty"` // the caller's workload
	Namespace       string           `json:"namespace,omitempty"`
	Service         string           `json:"service,omitempty"`
	Workload        string           `json:"workload,omitempty"`
	Version         string           `json:"version,omitempty"`
	Protocol        string           `json:"protocol,omitempty"`
	Method          string           `json:"method,omitempty"`
	Interface       string           `json:"interface,omitempty"`
	Code            int              `json:"code,omitempty"`
	Flags           string           `json:"flags,omitempty"`
	Failed          bool             `json:"failed,omitempty"`
}

// SeriesOf are the labels of a record.
func SeriesOf(r *traffic.Record) Series {
	return Series{
		Run: r.Run, Stage: r.Stage, Reporter: r.Reporter, SourceNamespace: r.Source.Namespace, Source: r.Source.Name,
		Namespace: r.Destination.Namespace, Service: r.Destination.Service, Workload: r.Destination.Name, Version: r.Destination.Version,
		Protocol: r.Protocol, Method: r.Method, Interface: r.Interface, Code: r.Code, Flags: r.Flags, Failed: r.Failed(),
	}
}

// Dimension is a label to group by.
type Dimension string

// The dimensions. ByService goes with the namespace, BySource with the caller's, and ByInterface with the method.
const (
	ByRun       Dimension = "run"
	ByStage     Dimension = "stage"
	ByReporter  Dimension = "reporter"
	BySource    Dimension = "source"
	ByService   Dimension = "service"
	ByWorkload  Dimension = "workload"
	ByVersion   Dimension = "version"
	ByInterface Dimension = "interface"
	ByCode      Dimension = "code"
	ByFlags     Dimension = "flags"
)

// Only is the series with nothing but the dimensions' labels.
func (s Series) Only(by []Dimension) (Series, error) {
	var out Series
	for _, d := range by {
		switch d {
		case ByRun:
			out.Run = s.Run
		case ByStage:
			out.Stage = s.Stage
		case ByReporter:
			out.Reporter = s.Reporter
		case BySource:
			out.SourceNamespace, out.Source = s.SourceNamespace, s.Source
		case ByService:
			out.Namespace, out.Service = s.Namespace, s.Service
		case ByWorkload:
			out.Namespace, out.Workload = s.Namespace, s.Workload
		case ByVersion:
			out.Version = s.Version
		case ByInterface:
			out.Method, out.Interface = s.Method, s.Interface
		case ByCode:
			out.Code = s.Code
		case ByFlags:
			out.Flags = s.Flags
		default:
			return out, fmt.Errorf("records cannot be grouped by %q", d)
		}
	}
	return out, nil
}

// Compare is the order of groups.
func Compare(a, b *Series) int {
	return cmp.Or(
		cmp.Compare(a.Run, b.Run), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reporter, b.Reporter),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Workload, b.Workload),
		cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.SourceNamespace, b.SourceNamespace), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Flags, b.Flags),
	)
}

// Filter chooses records. An empty field is any; of a list, one has to hold.
type Filter struct {
	From, To   time.Time // From is within, To is not; zero is without a bound
	Run        string
	Stages     []string
	Reporter   traffic.Reporter
	Source     string // the caller's workload
	SourceIn   string // its namespace
	Namespace  string
	Service    string
	Workload   string
	Versions   []string
	Method     string
	Interfaces []string
	Codes      []int
	Classes    []int  // of codes: 5 is 500 to 599
	Flag       string // one of the response flags
	Failed     *bool

	// The following are looked up in the records themselves. Groups and Timeline refuse them, as Summable does.
	RequestID, TraceID string
	Path               string        // a part of the path
	Slower, Faster     time.Duration // at least, at most; zero is without a bound
}

// Matches reports whether a series is one of the filter's.
func (f *Filter) Matches(s *Series) bool {
	for _, c := range [][2]string{
		{f.Run, s.Run}, {string(f.Reporter), string(s.Reporter)}, {f.Source, s.Source}, {f.SourceIn, s.SourceNamespace},
		{f.Namespace, s.Namespace}, {f.Service, s.Service}, {f.Workload, s.Workload}, {f.Method, s.Method},
	} {
		if c[0] != "" && c[0] != c[1] {
			return false
		}
	}
	return oneOf(f.Stages, s.Stage) && oneOf(f.Versions, s.Version) && oneOf(f.Interfaces, s.Interface) && oneOf(f.Codes, s.Code) &&
		oneOf(f.Classes, s.Code/100) && (f.Flag == "" || HasFlag(s.Flags, f.Flag)) && (f.Failed == nil || *f.Failed == s.Failed)
}

func oneOf[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }

// Group is a set of records, summed up.
type Group struct {
	Series   // the labels that it was grouped by
	Summary  Summary
	Codes    map[int]uint64    // by code; 0 is no answer
	Versions map[string]uint64 // that answered
}

// Timeline is a group over time.
type Timeline struct {
	Series
	Points []Point
}

// Point is one step of a timeline.
type Point struct {
	Start           time.Time
	Step            time.Duration
	Records, Errors uint64
	Mean            time.Duration // Unknown without records
}

// Order is what a listing is sorted by.
type Order string

// The orders. Each has a fixed order of records that are equal in it.
const (
	ByTime     Order = "time"
	ByDuration Order = "duration"
)

// Page asks for a part of a listing.
type Page struct {
	Order     Order  // empty is ByTime
	Ascending bool   // else the newest or slowest come first
	Limit     int    // 0 is 100; 1000 at most
	After     string // Listing.Next of the page before
}

// Listing is a page of records.
type Listing struct {
	Records []traffic.Record
	Next    string // for the page after; empty at the end
	// Partial says that the search for rare records stopped before the page was full, so that the answer came in time. Next goes on.
	Partial bool
}
