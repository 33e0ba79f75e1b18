package store

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"time"

	"squall/internal/traffic"
)

const (
	unit      = time.Microsecond
	subBits   = 6 // 64 buckets for each doubling
	maxBucket = (40-subBits)<<subBits + 1<<(subBits+1) - 1
	// QuantileError is how far a quantile of a Summary can be off, as a share of it.
	QuantileError = 1.0 / (2 << subBits)
)

// Bucket is the bucket of a duration: each is at most 1/64 of its durations wide, or 1 µs.
func Bucket(d time.Duration) int {
	v := uint64(max(0, d) / unit)
	if v >= 1<<41-1 {
		return maxBucket
	}
	if v < 1<<(subBits+1) {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift<<subBits + int(v>>shift)
}

// middle is the duration in the middle of a bucket.
func middle(bucket int) time.Duration {
	if bucket < 1<<(subBits+1) {
		return time.Duration(bucket)*unit + unit/2
	}
	shift := bucket>>subBits - 1
	low := uint64(bucket-shift<<subBits) << shift
	return time.Duration(low)*unit + time.Duration(uint64(unit)<<shift)/2
}

// Summary sums records up, and can be added to another one. The zero value is of no records.
type Summary struct {
	Records, Errors          uint64
	BytesReceived, BytesSent uint64        // at most math.MaxInt64, as is Sum: what exceeds it counts as it, so that stores can keep it
	Sum                      time.Duration // of the durations
	Min, Max                 time.Duration
	buckets                  []uint64
}

// Add takes in a record.
func (s *Summary) Add(r *traffic.Record) {
	s.AddDuration(r.Duration, r.Failed(), r.BytesReceived, r.BytesSent)
}

// AddDuration takes in a record that is known by its fields. Unknown durations count as 0.
func (s *Summary) AddDuration(d time.Duration, failed bool, received, sent int64) {
	d = max(d, 0)
	if s.Records == 0 || d < s.Min {
		s.Min = d
	}
	s.Max = max(s.Max, d)
	s.Records++
	if failed {
		s.Errors++
	}
	s.Sum = addTime(s.Sum, d)
	s.BytesReceived = addBytes(s.BytesReceived, uint64(max(received, 0)))
	s.BytesSent = addBytes(s.BytesSent, uint64(max(sent, 0)))
	b := Bucket(d)
	s.grow(b)
	s.buckets[b]++
}

func (s *Summary) grow(bucket int) {
	if bucket >= len(s.buckets) {
		s.buckets = append(s.buckets, make([]uint64, bucket+1-len(s.buckets))...)
	}
}

// addBytes adds numbers that are at most math.MaxInt64, which the sum does not exceed either.
func addBytes(a, b uint64) uint64 { return min(a+b, math.MaxInt64) }

func addTime(a, b time.Duration) time.Duration {
	return time.Duration(addBytes(uint64(a), uint64(b)))
}

// Merge adds another summary.
func (s *Summary) Merge(o *Summary) {
	if o.Records == 0 {
		return
	}
	if s.Records == 0 || o.Min < s.Min {
		s.Min = o.Min
	}
	s.Max = max(s.Max, o.Max)
	s.Records += o.Records
	s.Errors += o.Errors
	s.Sum = addTime(s.Sum, o.Sum)
	s.BytesReceived = addBytes(s.BytesReceived, o.BytesReceived)
	s.BytesSent = addBytes(s.BytesSent, o.BytesSent)
	s.grow(len(o.buckets) - 1)
	for i, n := range o.buckets {
		s.buckets[i] += n
	}
}

// Mean is the mean duration, or Unknown without records.
func (s *Summary) Mean() time.Duration {
	if s.Records == 0 {
		return traffic.Unknown
	}
	return s.Sum / time.Duration(s.Records)
}

// ErrorRatio is the share of records that failed, or NaN without records.
func (s *Summary) ErrorRatio() float64 {
	if s.Records == 0 {
		return math.NaN()
	}
	return float64(s.Errors) / float64(s.Records)
}

// Quantile is the duration that a share p of the records do not exceed, within QuantileError; Unknown without records.
func (s *Summary) Quantile(p float64) time.Duration {
	if s.Records == 0 {
		return traffic.Unknown
	}
	rank := max(1, uint64(math.Ceil(p*float64(s.Records))))
	for i, n := range s.buckets {
		if rank <= n {
			return min(max(middle(i), s.Min), s.Max)
		}
		rank -= n
	}
	return s.Max
}

// Rate is how many records there were a second, over a window.
func (s *Summary) Rate(window time.Duration) float64 {
	if window <= 0 {
		return math.NaN()
	}
	return float64(s.Records) / window.Seconds()
}

// Buckets calls yield with each bucket that is not empty, from the fastest.
func (s *Summary) Buckets(yield func(bucket int, n uint64) bool) {
	for i, n := range s.buckets {
		if n > 0 && !yield(i, n) {
			return
		}
	}
}

// AppendHistogram writes the buckets that are not empty: the distance to the one before, and the number.
func (s *Summary) AppendHistogram(b []byte) []byte {
	last := 0
	for i, n := range s.Buckets {
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, n)
		last = i
	}
	return b
}

var errHistogram = errors.New("a stored histogram is damaged")

// AddHistogram adds the buckets that AppendHistogram wrote, and nothing else of that summary.
func (s *Summary) AddHistogram(b []byte) error {
	at := uint64(0)
	for len(b) > 0 {
		step, n := binary.Uvarint(b)
		if n <= 0 {
			return errHistogram
		}
		count, m := binary.Uvarint(b[n:])
		if at += step; m <= 0 || step > maxBucket || at > maxBucket {
			return errHistogram
		}
		s.grow(int(at))
		s.buckets[at] += count
		b = b[n+m:]
	}
	return nil
}

// AddBucket adds to a bucket, and nothing else.
func (s *Summary) AddBucket(bucket int, n uint64) error {
	if bucket < 0 || bucket > maxBucket {
		return errHistogram
	}
	s.grow(bucket)
	s.buckets[bucket] += n
	return nil
}

// Reset empties the summary and keeps its memory.
func (s *Summary) Reset() {
	*s = Summary{buckets: s.buckets[:0]} // grow writes zeros
}
