package load

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"squall/internal/record"
)

func TestValidate(t *testing.T) {
	good := Spec{URL: "http://httpbin:8000/get", Connections: 2, Requests: 10}
	cases := []struct {
		name string
		edit func(*Spec)
		want []string // parts of the problems, none: valid
	}{
		{"good", func(*Spec) {}, nil},
		{"one call at a rate", func(s *Spec) { s.Connections, s.Requests, s.QPS = 1, 1, 3 }, nil},
		{"by time", func(s *Spec) { s.Requests, s.Duration = 0, time.Second }, nil},
		{"by time at a rate", func(s *Spec) { s.Requests, s.Duration, s.QPS, s.NoCatchUp = 0, time.Second, 4, true }, nil},
		{"https and grpc", func(s *Spec) { s.URL, s.Protocol, s.Dial = "https://a", GRPC, "[::1]:1" }, nil},
		{"nothing", func(s *Spec) { *s = Spec{} },
			[]string{"url: \"\" must begin", "connections: must be at least 1, not 0", "requests: say how many"}},
		{"both", func(s *Spec) { s.Duration = 1 }, []string{"requests: give these or a duration"}},
		{"negative", func(s *Spec) { s.QPS, s.Requests, s.Duration, s.Timeout, s.WarmUp = -1, -1, -1, -1, -1 },
			[]string{"qps: ", "requests: must be positive, not -1", "duration: must be positive, not -1ns", "timeout: ", "warmUp: "}},
		{"no number", func(s *Spec) { s.QPS = math.NaN() }, []string{"qps: must be 0, which is as fast as it can, or up to 1e9, not NaN"}},
		{"Fortio would use two connections", func(s *Spec) { s.Connections, s.QPS, s.Requests, s.Duration = 8, 2, 0, 2*time.Second },
			[]string{"8 connections need at least 16 calls, and this load has 4"}},
		{"Fortio would make ten calls", func(s *Spec) { s.Connections, s.Requests = 8, 3 },
			[]string{"8 connections need at least 8 calls, and this load has 3"}},
		{"one call by time", func(s *Spec) { s.Connections, s.Requests, s.Duration, s.QPS = 1, 0, time.Second, 1 }, []string{"at least 2 calls"}},
		{"pace without a rate", func(s *Spec) { s.Jitter = true }, []string{"qps: jitter, uniform and noCatchUp need one"}},
		{"leaving out of a number", func(s *Spec) { s.QPS, s.NoCatchUp = 100, true }, []string{"noCatchUp: "}},
		{"urls", func(s *Spec) { s.URL = "ftp://a" }, []string{"url: \"ftp://a\" must begin with http"}},
		{"no host", func(s *Spec) { s.URL = "http://:80/" }, []string{"has no host"}},
		{"a user", func(s *Spec) { s.URL = "http://a:b@c" }, []string{"Authorization"}},
		{"no url", func(s *Spec) { s.URL = "http://a b" }, []string{"url: parse"}},
		{"dial", func(s *Spec) { s.Dial = "127.0.0.1" }, []string{"dial: \"127.0.0.1\" must be host:port"}},
		{"protocol", func(s *Spec) { s.Protocol = "h3" }, []string{"protocol: \"h3\" is none of http/1.1, h2 and grpc"}},
		{"method", func(s *Spec) { s.Method = "GET /x" }, []string{"method: \"GET /x\""}},
		{"connect", func(s *Spec) { s.Method = "CONNECT" }, []string{"method: "}},
		{"gRPC method", func(s *Spec) { s.Method, s.Protocol = "PUT", GRPC }, []string{"method: gRPC"}},
		{"gRPC body", func(s *Spec) { s.Body, s.Protocol = []byte{0xff}, GRPC }, []string{"body: "}},
		{"gRPC header", func(s *Spec) { s.Headers, s.Protocol = []Header{{"Grpc-Timeout", "1"}}, GRPC }, []string{"set by gRPC"}},
		{"smuggling", func(s *Spec) { s.Headers = []Header{{"a", "b\r\nc: d"}, {"a b", "c"}, {"content-length", "3"}} },
			[]string{"the value of a has", "\"a b\" is no name", "content-length is set by the protocol"}},
		{"version header", func(s *Spec) { s.VersionHeader = "x y" }, []string{"versionHeader: "}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.edit(&s)
			err := s.Validate()
			if c.want == nil {
				must(t, err)
				return
			}
			if err == nil || len(strings.Split(err.Error(), "\n")) != len(c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got %v, want %q", err, w)
				}
			}
		})
	}
}

func TestKindOf(t *testing.T) {
	for want, errs := range map[string][]error{
		kindDNS:      {&net.DNSError{IsTimeout: true}},
		kindTimeout:  {context.DeadlineExceeded, os.ErrDeadlineExceeded, &net.OpError{Err: syscall.ETIMEDOUT}},
		kindCanceled: {context.Canceled},
		kindRefused:  {&net.OpError{Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}},
		kindReset:    {syscall.ECONNRESET, syscall.EPIPE},
		kindEOF:      {io.EOF, io.ErrUnexpectedEOF},
		kindTLS:      {&handshakeError{errors.New("x")}, x509.UnknownAuthorityError{}, &handshakeError{x509.HostnameError{Certificate: &x509.Certificate{}}}},
		kindOther:    {errors.New("x"), syscall.EHOSTUNREACH},
	} {
		for _, err := range errs {
			if got := kindOf(fmt.Errorf("call: %w", err)); got != want {
				t.Errorf("%v is %q, want %q", err, got, want)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	var p Progress
	for _, code := range []int{200, 200, 503, 0, 600, -3} {
		p.add(code, false)
	}
	p.add(0, true)
	want := Snapshot{Count: 7, Failed: 1, Codes: map[int]int64{200: 2, 503: 1, 0: 1, -1: 2}}
	if got := p.Snapshot(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRequestIDsAreUUIDs(t *testing.T) {
	r, seen := newRequestIDs(), map[string]bool{}
	for range 300 {
		id := r.text()
		seen[id] = true
		if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[14] != '4' || id[18] != '-' || id[19] != 'a' || id[23] != '-' {
			t.Fatalf("%q is no UUID of version 4", id)
		}
	}
	if len(seen) != 300 || seen[newRequestIDs().text()] {
		t.Error("ids come twice")
	}
}

// The load goes on when its records cannot be written, and the writer says what is missing.
func TestFullDisk(t *testing.T) {
	url, received := counted(t, ok)
	r, err := record.Create(t.TempDir(), "r")
	must(t, err)
	path := r.Path("phases", "p", "requests.ndjson")
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.Symlink("/dev/full", path))
	w, err := r.RequestWriter("p")
	must(t, err)
	l, err := Run(t.Context(), Spec{URL: url, Connections: 2, Requests: 2000}, Output{Sink: w})
	must(t, err)
	if l.Count != 2000 || received.Load() != 2000 {
		t.Errorf("the server received %d calls, the load says %+v", received.Load(), l)
	}
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}
