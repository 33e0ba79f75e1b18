package store

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"squall/internal/traffic"
)

func TestQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s, half Summary
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(math.Exp(r.NormFloat64()*3+13)) + time.Millisecond
		all = append(all, d)
		if i%2 == 0 {
			s.AddDuration(d, i%10 == 0, 1, 2)
		} else {
			half.AddDuration(d, false, 1, 2)
		}
	}
	var read Summary
	if err := read.AddHistogram(half.AppendHistogram(nil)); err != nil || !slices.Equal(read.buckets, half.buckets) {
		t.Fatal("a histogram was read as another one", err)
	}
	s.Merge(&half)
	slices.Sort(all)
	for _, p := range []float64{0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
		want := all[max(1, int(math.Ceil(p*float64(len(all)))))-1]
		if got := s.Quantile(p); math.Abs(float64(got-want)) > QuantileError*float64(want) {
			t.Errorf("P%g is %v, want %v", p*100, got, want)
		}
	}
	if s.Records != 20_000 || s.Errors != 2000 || s.ErrorRatio() != 0.1 || s.Min != all[0] || s.Max != all[len(all)-1] || s.BytesSent != 40_000 {
		t.Errorf("%+v", s)
	}
	s.Reset()
	if s.Records != 0 || s.Mean() != traffic.Unknown || s.Quantile(0.5) != traffic.Unknown || !math.IsNaN(s.ErrorRatio()) {
		t.Errorf("%+v", s)
	}
}

func TestBucket(t *testing.T) {
	last := -1
	for d := time.Duration(0); d < 1<<62 && d >= 0; d += max(1, d/1000) {
		b := Bucket(d)
		if b < last || b > last+1 || b > maxBucket {
			t.Fatalf("%v is in %d after %d", d, b, last)
		}
		last = b
	}
	if last != maxBucket || Bucket(-5) != 0 || Bucket(math.MaxInt64) != maxBucket {
		t.Errorf("the last bucket is %d, not %d", last, maxBucket)
	}
}

func FuzzHistogram(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again Summary
		if s.AddHistogram(b) != nil {
			return
		}
		if err := again.AddHistogram(s.AppendHistogram(nil)); err != nil {
			t.Fatal(err)
		}
		for i, n := range s.Buckets {
			if again.buckets[i] != n {
				t.Fatalf("%v is %v", s.buckets, again.buckets)
			}
		}
	})
}

// Many put at once, the writer is slow at times, drops some and knows some: every record is accounted for, and few are in memory.
func TestBatcherAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var most atomic.Int64
		b := NewBatcher(t.Context(), BatchOptions{Size: 100, Queue: 500, Every: time.Second, Write: func(ctx context.Context, batch []traffic.Record) Outcome {
			most.Store(max(most.Load(), int64(len(batch))))
			n := uint64(len(batch))
			time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock: a slow store
			return Outcome{Stored: n - n/10 - n/5, Duplicates: n / 10, Dropped: map[string]uint64{"full": n / 5}}
		}})
		var wg sync.WaitGroup
		for range 7 {
			wg.Go(func() {
				for range 30 {
					if err := b.Put(t.Context(), make([]traffic.Record, 37)); err != nil {
						t.Error(err)
					}
					if a := b.Account(); !a.Balanced() || a.Pending > 1100 {
						t.Error(a)
					}
				}
			})
		}
		wg.Wait()
		begin := time.Now()
		if err := b.Flush(t.Context()); err != nil || time.Since(begin) > 500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if a := b.Account(); a.Received != 7*30*37 || a.Pending != 0 || !a.Balanced() || a.Lost() == 0 || most.Load() > 100 {
			t.Errorf("%v; batches of %d", a, most.Load())
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := b.Put(t.Context(), make([]traffic.Record, 1)); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestBatcherIsPatientAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		var sizes []int
		b := NewBatcher(t.Context(), BatchOptions{Size: 10, Queue: 20, Every: time.Second, Write: func(ctx context.Context, batch []traffic.Record) Outcome {
			sizes = append(sizes, len(batch))
			select {
			case <-stuck:
				return Outcome{Stored: uint64(len(batch))}
			case <-ctx.Done():
				return Outcome{Dropped: map[string]uint64{"closed": uint64(len(batch))}}
			}
		}})
		for range 3 {
			if err := b.Put(t.Context(), make([]traffic.Record, 1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if len(sizes) != 1 || sizes[0] != 3 {
			t.Fatalf("batches of %d", sizes)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Put(ctx, make([]traffic.Record, 100)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("a full queue took more:", err)
		}
		a := b.Account()
		if a.Received != 23 || !a.Balanced() {
			t.Errorf("%v", a)
		}
		closing, cancel2 := context.WithTimeout(t.Context(), time.Second)
		defer cancel2()
		if err := b.Close(closing); err == nil {
			t.Error("closed without a word about what is lost")
		}
		if a := b.Account(); a.Lost() != 23 || a.Pending != 0 || !a.Balanced() {
			t.Errorf("%v", a)
		}
	})
}

func TestFilter(t *testing.T) {
	yes := true
	s := Series{Run: "r", Service: "httpbin", Code: 503, Flags: "UF,URX", Failed: true}
	for _, c := range []struct {
		f    Filter
		want bool
	}{
		{Filter{}, true}, {Filter{Run: "r", Service: "httpbin"}, true}, {Filter{Run: "q"}, false}, {Filter{Codes: []int{200, 503}}, true},
		{Filter{Classes: []int{4}}, false}, {Filter{Classes: []int{5}}, true}, {Filter{Flag: "URX"}, true}, {Filter{Flag: "UR"}, false}, {Filter{Failed: &yes}, true},
	} {
		if got := c.f.Matches(&s); got != c.want {
			t.Errorf("%+v: %v", c.f, got)
		}
	}
	a := Account{Received: 10, Stored: 6, Duplicates: 1, Dropped: map[string]uint64{"disk full": 2}, Pending: 1}
	if a.String() != "10 received = 6 stored + 1 known + 1 pending + 2 dropped (disk full: 2)" || !a.Balanced() {
		t.Error(a)
	}
}

func TestGrid(t *testing.T) {
	from := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, over := range []time.Duration{1, time.Second, time.Minute, time.Hour, 25*time.Hour + 1, 1000 * time.Hour} {
		for _, n := range []int{1, 7, 30, 10_000} {
			g := NewGrid(from, from.Add(over), n)
			if g.Steps < 1 || g.Steps > n || g.Step%g.Unit != 0 || g.Start.After(from) || g.End().Before(from.Add(over)) || g.Of(from) < 0 || g.Of(from.Add(over-1)) >= g.Steps ||
				g.Start.Unix()%int64(g.Unit.Seconds()) != 0 || len(g.Points()) != g.Steps {
				t.Errorf("%v in %d: %+v", over, n, g)
			}
		}
	}
}
