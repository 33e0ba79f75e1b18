package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Limits of trying again, when the API is not there for a moment.
const (
	retryWithin = 30 * time.Second
	retryFirst  = 100 * time.Millisecond
	retryMost   = 2 * time.Second
	// rolesWithin is how long an API server that has just started may take until it knows all roles: till then it refuses what they allow.
	rolesWithin = 15 * time.Second
)

// GoneError is an API that did not answer, however often it was tried.
type GoneError struct {
	Tries int
	Took  time.Duration
	Err   error // of the last try
}

// Error says how often it was tried.
func (e *GoneError) Error() string {
	return fmt.Sprintf("the API did not answer in %d tries within %.0f s: %v", e.Tries, e.Took.Seconds(), e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }

// again makes a request that may be made twice, until the API answers, retryWithin is over or ctx ends. An API that was never reached, or
// that was given up before, is tried once. A permission that is lacking is asked for again for rolesWithin.
func again[T any](ctx context.Context, o *Objects, try func() (T, error)) (T, error) {
	start := time.Now()
	for n, pause := 1, retryFirst; ; n++ {
		out, err := try()
		if !Unavailable(err) && (!refusedByRole(err) || !o.reached.Load() || time.Since(start) > rolesWithin) {
			o.reached.Store(true)
			return out, err
		}
		wait := pause
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			wait = max(wait, time.Duration(seconds)*time.Second)
		}
		switch {
		case !o.reached.Load():
			return out, err
		case time.Since(start)+wait > retryWithin:
			o.reached.Store(false)
			return out, &GoneError{n, time.Since(start), err}
		}
		if Pause(ctx, wait) != nil {
			return out, &GoneError{n, time.Since(start), err}
		}
		pause = min(2*pause, retryMost)
	}
}

// retrier makes requests that only read again, as again does: lists, watches and logs of typed clients. Where a connection ends in the middle
// of an answer, who reads it asks anew.
type retrier struct {
	next http.RoundTripper
	o    *Objects
}

func (r retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		return r.next.RoundTrip(req)
	}
	return again(req.Context(), r.o, func() (*http.Response, error) { return r.next.RoundTrip(req) })
}

// WrappedRoundTripper is what the requests go through.
func (r retrier) WrappedRoundTripper() http.RoundTripper { return r.next }

// Pause returns after d, or with the cause when ctx ends before. It is for the time between two tries of what cannot tell when to try again.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Unavailable says whether an error is that of an API that is not there, or cannot answer now: nothing was decided.
func Unavailable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	var op *net.OpError
	var u *url.Error
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsInternalError(err) || errors.As(err, &op) || errors.As(err, &u)
}

// refusedByRole says whether the user lacks the permission, as far as the API server knows. In mid-run that need not be so: what a run
// needs was asked for before.
func refusedByRole(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot ") && strings.Contains(err.Error(), ` resource "`)
}
