// Package flowcontroltest serves the project's own flow control to tests.
package flowcontroltest

import (
	"context"
	"log"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"squall/fixtures/es-flowcontrol/app/proxy"
)

// Site is flow control before a node.
type Site struct {
	Controlled, Admin string // addresses, as URLs
	// Stop ends it, as the end of the test does.
	Stop func()
}

// Serve runs flow control before a node, whose address is given as a URL, for the time of a test.
func Serve(t testing.TB, node string) Site {
	t.Helper()
	return serve(t, node, [2]string{"127.0.0.1:0", "127.0.0.1:0"})
}

// Again runs flow control anew at the addresses of one that was stopped.
func (s Site) Again(t testing.TB, node string) Site {
	t.Helper()
	return serve(t, node, [2]string{s.Controlled[len("http://"):], s.Admin[len("http://"):]})
}

func serve(t testing.TB, node string, at [2]string) Site {
	t.Helper()
	back, err := url.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	server, err := proxy.New(proxy.Config{Backend: back, Cores: 2, Log: log.New(t.Output(), "", 0), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var on [2]net.Listener
	for i := range on {
		if on[i], err = new(net.ListenConfig).Listen(t.Context(), "tcp", at[i]); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, proxy.Listeners{HTTP: on[0], Admin: on[1]}) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return Site{Controlled: "http://" + on[0].Addr().String(), Admin: "http://" + on[1].Addr().String(), Stop: stop}
}
