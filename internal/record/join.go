package record

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"iter"
	"net"
	"slices"
	"strings"
)

// joinBlock is how many requests are joined at a time. It bounds the memory of a join to some 60 MB; the access log is read
// once per block, so a load of ten million requests reads it ten times.
const joinBlock = 1 << 20

// Samples yields the phase's requests in their order, each joined by its request id with the access log entry that the load
// generator's own proxies wrote for it on its way out.
//
// The join is exact: ids are compared in full (as 128 bits; ids that are no UUIDs by a cryptographic digest). The bit
// group in which Envoy notes its tracing decision is left out of UUIDs. A request without an id, without an entry, or whose
// id is not the only one among the entries or the requests read together, has Joined false. So do all when there is no
// proxy of the load generator or it has no access log; that is not an error here, since a load may run without a sidecar.
//
// Errors are those of Requests; those of the access log come after the block of samples that it was read for.
func (r *Run) Samples(phase string) iter.Seq2[Sample, error] {
	return r.samples(phase, joinBlock)
}

func (r *Run) samples(phase string, block int) iter.Seq2[Sample, error] {
	if err := checkSegment("phase", phase); err != nil {
		return failed[Sample](err)
	}
	return func(yield func(Sample, error) bool) {
		j, err := r.newJoin(phase, block)
		if err != nil {
			yield(Sample{}, err)
			return
		}
		defer j.requests.close()
		for j.nextBlock(yield) {
		}
	}
}

// join is the state of one iteration over Samples.
type join struct {
	requests *lineReader
	access   []string // the files, one a client proxy
	block    int
	parser   *parser
	index    map[RequestKey]int32 // to the request's place in the block
	match    []int32              // per request of the block: 1 + number of its answer, none or ambiguous
	answers  []answer
	numbers  map[answerKey]int32
	pods     map[string]answerer // by IP
}

// answerer is the pod that has an address, with its version. What is not known, as two pods had it in turn, is empty.
type answerer struct{ pod, version string }

const (
	none      int32 = 0
	ambiguous int32 = -1
)

// answer is what the proxy's entries say; there are few different ones.
type answer struct {
	flags         []string
	route         string
	upstream      string
	pod, answered string
	attempts      int
}

type answerKey struct {
	flags, route, upstream string
	attempts               int
}

// RequestKey stands for a request's x-request-id, which its copies and attempts share.
type RequestKey [16]byte

func (r *Run) newJoin(phase string, block int) (*join, error) {
	proxies, err := r.PhaseProxies(phase) // a pod of another phase may have had the address of one of this
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := openReader(r.Path(requestsFile(phase)))
	if err != nil {
		return nil, err
	}
	j := &join{
		requests: l, block: block, parser: newParser(),
		index: map[RequestKey]int32{}, numbers: map[answerKey]int32{}, pods: map[string]answerer{},
	}
	for _, p := range proxies {
		j.place(p)
		if p.Client {
			j.access = append(j.access, r.Path(accessFile(phase, p.Pod)))
		}
	}
	return j, nil
}

// place notes who answers at the proxy's address.
func (j *join) place(p Proxy) {
	a := answerer{p.Pod, p.Labels["version"]}
	if other, ok := j.pods[p.IP]; ok && other.pod != a.pod {
		a.pod = ""
		if other.version != a.version {
			a.version = ""
		}
	}
	j.pods[p.IP] = a
}

// nextBlock yields a block of samples in three steps: number the ids of the next requests, look them up in the access log,
// and read the requests again. It returns false at the end.
func (j *join) nextBlock(yield func(Sample, error) bool) bool {
	at, line := j.requests.at, j.requests.line
	n := j.indexRequests()
	accessErrs := j.readAccess()
	if err := j.requests.seek(at, line); err != nil {
		yield(Sample{}, err)
		return false
	}
	for i := range n {
		q, more, err := parsed(j.requests, parseRequest, j.parser)
		if err != nil {
			if !yield(Sample{}, err) || !more {
				return false
			}
			continue
		}
		if !yield(j.sample(q, j.match[i]), nil) {
			return false
		}
	}
	for _, err := range accessErrs {
		if !yield(Sample{}, err) {
			return false
		}
	}
	return n == j.block
}

// indexRequests reads the next lines up to the block's size and returns how many there were, wrong ones included.
func (j *join) indexRequests() int {
	clear(j.index)
	j.match = j.match[:0]
	for len(j.match) < j.block {
		q, more, err := parsed(j.requests, parseRequest, j.parser)
		if !more && err == nil {
			break
		}
		i := int32(len(j.match))
		j.match = append(j.match, none)
		if !more {
			break
		}
		if err != nil || q.ID == "" {
			continue
		}
		k := KeyOf(q.ID)
		if first, ok := j.index[k]; ok {
			j.match[first], j.match[i] = ambiguous, ambiguous
			continue
		}
		j.index[k] = i
	}
	return len(j.match)
}

// maxAccessErrors is how many wrong lines of an access log are reported per block: a log of garbage has millions.
const maxAccessErrors = 16

// readAccess finds the entries of the block's requests.
func (j *join) readAccess() []error {
	if len(j.index) == 0 {
		return nil
	}
	var errs []error
	for _, file := range j.access {
		errs = append(errs, j.readFile(file)...)
	}
	return errs
}

func (j *join) readFile(file string) []error {
	l, err := openReader(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{err}
	}
	defer l.close()
	var errs []error
	for {
		a, more, err := parsed(l, parseAccess, j.parser)
		if err != nil && len(errs) < maxAccessErrors {
			errs = append(errs, err)
		}
		if !more {
			break
		}
		if err == nil {
			j.found(&a)
		}
	}
	return errs
}

func (j *join) found(a *Access) {
	if strings.HasPrefix(a.Cluster, "inbound|") || a.RequestID == "" {
		return
	}
	i, ok := j.index[KeyOf(a.RequestID)]
	switch {
	case !ok:
	case j.match[i] != none:
		j.match[i] = ambiguous
	default:
		j.match[i] = j.number(a) + 1
	}
}

// number is the number of what the entry says, a new one when no entry has said it yet.
func (j *join) number(a *Access) int32 {
	k := answerKey{flags: a.Flags, route: dash(a.Route), upstream: answeredBy(a), attempts: a.Attempts}
	if n, ok := j.numbers[k]; ok {
		return n
	}
	n := answer{flags: splitFlags(a.Flags), route: k.route, upstream: k.upstream, attempts: k.attempts}
	if host, _, err := net.SplitHostPort(k.upstream); err == nil {
		p := j.pods[host]
		n.pod, n.answered = p.pod, p.version
	}
	j.numbers[k] = int32(len(j.answers))
	j.answers = append(j.answers, n)
	return j.numbers[k]
}

// answeredBy is the host whose answer the caller got: none when the proxy says that the answer is its own, although it had
// chosen a host before.
func answeredBy(a *Access) string {
	if d := dash(a.Details); d != "" && d != "via_upstream" {
		return ""
	}
	return dash(a.Upstream)
}

// dash is s, but empty for Envoy's word for nothing.
func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func splitFlags(s string) []string {
	if s = dash(s); s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func (j *join) sample(q Request, match int32) Sample {
	s := Sample{Request: q, Answered: q.Version}
	if match <= none {
		return s
	}
	a := &j.answers[match-1]
	s.Joined = true
	s.Flags, s.Route, s.Upstream, s.Pod, s.Attempts = slices.Clip(a.flags), a.route, a.upstream, a.pod, a.attempts
	if a.answered != "" {
		s.Answered = a.answered
	}
	return s
}

// traceNibble is the place of a UUID's version digit, in which Envoy writes whether the request is traced.
const traceNibble = 14

// KeyOf is the id as 128 bits: a UUID's own without the tracing digit, and the beginning of the SHA-256 digest of any other.
func KeyOf(id string) RequestKey {
	if k, ok := uuidKey(id); ok {
		return k
	}
	sum := sha256.Sum256([]byte(id))
	return RequestKey(sum[:16])
}

func uuidKey(id string) (k RequestKey, ok bool) {
	if len(id) != 36 {
		return k, false
	}
	n := 0
	for i := range len(id) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if id[i] != '-' {
				return k, false
			}
			continue
		}
		d := hexDigit(id[i])
		if d > 15 {
			return k, false
		}
		if i == traceNibble {
			d = 0
		}
		k[n/2] = k[n/2]<<4 | d
		n++
	}
	return k, true
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
