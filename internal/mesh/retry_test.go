package mesh

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestAgain(t *testing.T) {
	refused := &url.Error{Op: "Get", URL: "https://x", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	busy := apierrors.NewTooManyRequests("busy", 7)
	lacking := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New(`User "a" cannot get resource "pods" in API group ""`))
	denied := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("no"))
	for name, c := range map[string]struct {
		fresh  bool // the API was never reached
		errs   []error
		limit  time.Duration
		tries  int
		within [2]time.Duration
		want   error
		gone   bool
	}{
		"at once":           {errs: []error{nil}, tries: 1},
		"back soon":         {errs: []error{refused, refused, nil}, tries: 3, within: [2]time.Duration{300 * time.Millisecond, 400 * time.Millisecond}},
		"as it asks":        {errs: []error{busy, nil}, tries: 2, within: [2]time.Duration{7 * time.Second, 8 * time.Second}},
		"before it knows":   {errs: []error{lacking, lacking, nil}, tries: 3, within: [2]time.Duration{0, time.Second}},
		"lacking":           {errs: []error{lacking}, tries: 12, want: lacking, within: [2]time.Duration{rolesWithin, rolesWithin + retryMost}},
		"lacking at first":  {fresh: true, errs: []error{lacking}, tries: 1, want: lacking},
		"a decision":        {errs: []error{denied}, tries: 1, want: denied},
		"a decision, later": {errs: []error{refused, denied}, tries: 2, want: denied, within: [2]time.Duration{0, time.Second}},
		"gone":              {errs: []error{refused}, tries: 19, want: refused, gone: true, within: [2]time.Duration{retryWithin - retryMost, retryWithin}},
		"the end of the run": {errs: []error{refused}, limit: time.Second, tries: 4, want: refused, gone: true,
			within: [2]time.Duration{time.Second, time.Second}},
		"never reached": {fresh: true, errs: []error{refused}, tries: 1, want: refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &Objects{}
				o.reached.Store(!c.fresh)
				ctx := t.Context()
				if c.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.limit)
					defer cancel()
				}
				start, tries := time.Now(), 0
				_, err := again(ctx, o, func() (int, error) {
					e := c.errs[min(tries, len(c.errs)-1)]
					tries++
					return 0, e
				})
				took := time.Since(start)
				var gone *GoneError
				if tries != c.tries || !errors.Is(err, c.want) || errors.As(err, &gone) != c.gone {
					t.Errorf("%d tries: %v", tries, err)
				}
				if took < c.within[0] || took > c.within[1] {
					t.Errorf("it took %s", took)
				}
				if c.gone && c.limit == 0 { // the next request does not wait as long
					if _, err := again(ctx, o, func() (int, error) { return 0, refused }); !errors.Is(err, refused) || time.Since(start) != took {
						t.Errorf("%v after %s", err, time.Since(start))
					}
				}
			})
		})
	}
}

// refusing is an API server that is away for some requests.
type refusing struct{ tries, away int }

func (r *refusing) RoundTrip(*http.Request) (*http.Response, error) {
	if r.tries++; r.tries <= r.away {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// What only reads is asked again while the API server is away; what changes something is not, as it may have been done.
func TestReadsAreTriedAgain(t *testing.T) {
	for method, c := range map[string]struct {
		away, tries int
		ok          bool
	}{"GET": {2, 3, true}, "DELETE": {2, 1, false}, "POST": {1, 1, false}} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, api := &Objects{}, &refusing{away: c.away}
				o.reached.Store(true)
				req, err := http.NewRequestWithContext(t.Context(), method, "https://x/api/v1/pods", nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := retrier{api, o}.RoundTrip(req)
				if (err == nil) != c.ok || api.tries != c.tries {
					t.Errorf("%d tries: %v", api.tries, err)
				}
				if err == nil {
					if err := resp.Body.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}
