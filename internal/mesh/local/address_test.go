package local

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
)

// A block of which one port is still taken, as by an istiod that outlives its owner by a moment, is not taken.
func TestClaimBlock(t *testing.T) {
	b, err := takeBlock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claimBlock(t.Context(), b.n); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a block is taken twice: %v", err)
	}
	if err := errors.Join(b.release(), b.release()); err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	for _, port := range []int{xdsPort, debugPort, monitoringPort, apiPort} {
		l, err := lc.Listen(t.Context(), "tcp4", fmt.Sprintf("127.%d.0.1:%d", b.n, port))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := claimBlock(t.Context(), b.n); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("port %d is in use, and the block is taken: %v", port, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := claimBlock(t.Context(), b.n)
	if err != nil {
		t.Fatalf("a block that was given up is not free: %v", err)
	}
	if err := again.release(); err != nil {
		t.Fatal(err)
	}
}
