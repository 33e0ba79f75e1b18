package check

import (
	"fmt"
	"math"
	"regexp"
	"strings"

	"squall/internal/record"
)

// kind is how a measure is made.
type kind int

const (
	mCount kind = iota
	mRatio
	mRate
	mPercentile
	mMean
	mMin
	mMax
	mLoad
	mCounter
	mGauge
	mEntries
	mEntriesRatio
	mCopies
	mRecorded
	mRecordedRatio
	mOrigins
	mEffect
	mCPU
	mMemory
	mFlow
)

// measure is one quantity that a statement reads.
type measure struct {
	text  string // as written
	at    int    // offset of its first place
	kind  kind
	delta bool // less the same in the baseline

	pred *predicate // of samples or of access log entries
	// response says that times count from when a call was meant to start rather than from when it did.
	response bool
	q        float64 // mPercentile: in (0, 1)
	field    string  // mLoad, mCPU, mMemory, mEffect, mRecorded, mFlow
	service  string  // of entries: inbound of this service's pods; "" is outbound of the client. Of records: the callee, or any
	pods     podSet  // mCounter, mGauge
	stat     statPattern
	node     string // mFlow: of Elasticsearch's; "" is all
	column   int    // mFlow: of its first place in the statement as written
}

// podSet says whose snapshots a counter is read from.
type podSet struct {
	name   string // a pod or a service; "" is the client
	others bool   // all but the client
}

// key is equal for measures that are the same.
func (m *measure) key() string {
	return fmt.Sprintf("%d %v %v %v %q %q %q %q %+v %s", m.kind, m.delta, m.q, m.response, predicateKey(m.pred), m.field, m.service, m.node, m.pods, m.stat.key())
}

// ofSamples says whether the client's requests are needed.
func (m *measure) ofSamples() bool { return m.kind <= mMax }

// estimated says whether the measure stands for a quantity of the population that has an interval.
func (m *measure) estimated() bool { return m.isShare() || m.kind == mPercentile }

// isShare says whether the measure is a share of requests or of entries.
func (m *measure) isShare() bool {
	return m.kind == mRatio || m.kind == mEntriesRatio || m.kind == mRecordedRatio
}

// ofEntries says whether access logs are needed.
func (m *measure) ofEntries() bool { return m.kind == mEntries || m.kind == mEntriesRatio }

// needsLatencies says whether all latencies are needed.
func (m *measure) needsLatencies() bool { return m.kind == mPercentile }

func (m *measure) unit() string {
	switch m.kind {
	case mCount, mEntries, mCopies:
		return "requests"
	case mRatio, mEntriesRatio, mRecordedRatio:
		return ""
	case mRecorded:
		return recordedUnit(m.field)
	case mOrigins:
		return "interfaces"
	case mRate:
		return "1/s"
	case mPercentile, mMean, mMin, mMax:
		return "s"
	case mLoad:
		switch m.field {
		case "seconds":
			return "s"
		case "connections", "workers":
			return m.field
		case "skew":
			return ""
		case "count":
			return "requests"
		default:
			return "1/s"
		}
	case mEffect:
		switch m.field {
		case record.Cordoned:
			return "nodes"
		case record.Stuck:
			return "rollouts"
		}
		return "pods"
	case mCPU:
		return "cores"
	case mMemory:
		return unitMemory
	default:
		return "events"
	}
}

func recordedUnit(field string) string {
	switch field {
	case "count", waitedField:
		return "requests"
	case "rate":
		return "1/s"
	case "versions":
		return "versions"
	}
	return "s"
}

func loadFields() []string {
	return []string{"count", "qps", "askedQps", "seconds", "connections", "workers", "skew"}
}

// percentileNames are the percentiles that have a name.
func percentileNames() map[string]float64 {
	return map[string]float64{"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}
}

// hostStats are the functions of a host and Envoy's names for what they count, several parted by a bar.
func hostStats() map[string]string {
	return map[string]string{
		// Envoy counts what exceeds the limits of connections and queue apart from what exceeds that of requests.
		"overflow":       "upstream_rq_pending_overflow|upstream_rq_active_overflow",
		"retries":        "upstream_rq_retry",
		"timeouts":       "upstream_rq_timeout",
		"perTryTimeouts": "upstream_rq_per_try_timeout",
		"ejections":      "outlier_detection.ejections_enforced_total",
	}
}

// faultStats are the functions of the fault filter and Envoy's names for what they count.
func faultStats() map[string]string {
	return map[string]string{"aborts": "aborts_injected", "delays": "delays_injected"}
}

func measureNames() []string {
	names := []string{
		"count", "ratio", "rate", "percentile", "mean", "min", "max", "load", "counter", "gauge", "cluster", "proxy",
		"elsewhere", "records", "origins", "access", "copies", "delta", "abs", "cpu", "memory", flowName,
	}
	for n := range percentileNames() {
		names = append(names, n)
	}
	for n := range hostStats() {
		names = append(names, n)
	}
	for n := range faultStats() {
		names = append(names, n)
	}
	return append(names, effectNames()...)
}

// MarkerPrefix begins the names of the subsets that Squall adds to a host only to see its configuration arrive. They
// carry no traffic and come and go with a stage, so that sums over a host's clusters leave them out.
const MarkerPrefix = "squall-"

// statPattern picks stats by full name, by regular expression, or by the parts of a cluster's name.
type statPattern struct {
	name string
	re   *regexp.Regexp

	host, subset, stat string
	anySubset          bool
}

func (p statPattern) key() string {
	if p.re != nil {
		return "~" + p.re.String()
	}
	return fmt.Sprintf("%q %q %q %q %v", p.name, p.host, p.subset, p.stat, p.anySubset)
}

func (p statPattern) String() string {
	switch {
	case p.re != nil:
		return "matching " + p.re.String()
	case p.host != "":
		subset := p.subset
		if p.anySubset {
			subset = "*"
		}
		return fmt.Sprintf("cluster.outbound|*|%s|%s.%s", subset, p.host, strings.ReplaceAll(p.stat, "|", " or "))
	default:
		return p.name
	}
}

// match takes a stat's name as plainStat gives it.
func (p statPattern) match(name, namespace string) bool {
	switch {
	case p.re != nil:
		return p.re.MatchString(name) && !isMarker(name)
	case p.host == "":
		return name == plainStat(p.name)
	}
	rest, ok := strings.CutPrefix(name, "cluster.outbound|")
	if !ok {
		return false
	}
	for stat := range strings.SplitSeq(p.stat, "|") {
		if cluster, ok := strings.CutSuffix(rest, "."+stat); ok {
			return p.matchCluster(cluster, namespace)
		}
	}
	return false
}

// matchCluster takes the name of an outbound cluster without its direction.
func (p statPattern) matchCluster(name, namespace string) bool {
	parts := strings.Split(name, "|")
	if len(parts) != 3 || !sameHost(p.host, parts[2], namespace) {
		return false
	}
	if p.anySubset {
		return !strings.HasPrefix(parts[1], MarkerPrefix)
	}
	return parts[1] == p.subset
}

// isMarker says whether a stat is of a cluster that is only Squall's marker.
func isMarker(name string) bool {
	parts := strings.Split(name, "|")
	return len(parts) == 4 && strings.HasPrefix(parts[2], MarkerPrefix)
}

// sameHost says whether an author's host is this fully qualified one: httpbin, httpbin.ns or the whole name.
func sameHost(host, fqdn, namespace string) bool {
	if host == fqdn {
		return true
	}
	if strings.Contains(host, ".") {
		return strings.HasPrefix(fqdn, host+".svc.")
	}
	return strings.HasPrefix(fqdn, host+"."+namespace+".svc.")
}

// plainStat leaves out the ";" with which Istio ends the name of a cluster or of a listener.
func plainStat(name string) string { return strings.ReplaceAll(name, ";.", ".") }

// isStatPattern says whether a stat's name is a regular expression. A full name has dots and bars but none of these.
func isStatPattern(name string) bool { return strings.ContainsAny(name, `\*+?()[]{}^$`) }

// reading is a measure's value in one phase.
type reading struct {
	value, lo, hi float64 // lo and hi are the value where there is no interval
	confidence    float64 // of the interval; 0: none
	method        string
	n             int64 // what the value rests on
	k             int64 // of a share: how many
	fraction      func(float64) float64
	source        string
	missing       string // why there is no value
	need          int64  // requests needed for an interval at all
}

func exact(v float64, n int64, source string) reading {
	return reading{value: v, lo: v, hi: v, n: n, source: source}
}

func absent(source, format string, args ...any) reading {
	return reading{source: source, missing: fmt.Sprintf(format, args...)}
}

// report is the reading as evidence.
func (m *measure) report(r reading) Measure {
	out := Measure{Expr: m.text, N: r.n, Unit: m.unit(), Source: r.source, Missing: r.missing}
	if r.missing != "" {
		return out
	}
	out.Value = finite(r.value)
	if r.confidence > 0 || r.lo != r.hi {
		out.Lo, out.Hi, out.Confidence, out.Method = finite(r.lo), finite(r.hi), r.confidence, r.method
	}
	return out
}

func finite(v float64) *float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	return &v
}
