// Package kubeapitest serves the in-memory Kubernetes API to tests.
package kubeapitest

import (
	"context"
	"net"
	"testing"

	"squall/internal/kubeapi"
)

// Serve serves the API at a port of this machine until the test ends, and returns its URL. That it ends with an error fails the test.
func Serve(t testing.TB, s *kubeapi.Server) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}
