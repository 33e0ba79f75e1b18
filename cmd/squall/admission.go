package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"squall/internal/traffic/page"
)

// admissionFlags say where a page is served, and who may see it.
type admissionFlags struct {
	listen, token         string
	listenFlag, tokenFlag string // their names
}

// admission is where a page is served, and who may see it.
type admission struct {
	admissionFlags
	loopback bool
	made     bool // the token is Squall's own
}

// admit finds who may see the page: on a loopback address everybody on this machine, on any other one who has the token, which is made
// when none is given. Errors are the caller's mistakes.
func (f admissionFlags) admit() (admission, error) {
	d := admission{admissionFlags: f}
	var err error
	if d.loopback, err = isLoopback(f.listen); err != nil {
		return d, fmt.Errorf("--%s %q: %w: it is an address and a port, such as 127.0.0.1:8088", f.listenFlag, f.listen, err)
	}
	if d.token == "" {
		d.token = os.Getenv(tokenEnv)
	}
	if d.token == "" && !d.loopback {
		d.token, d.made = page.NewToken(), true
	}
	if d.token != "" && len(d.token) < page.MinToken {
		return d, fmt.Errorf("the token has %d characters: give one of %d at least by --%s or %s", len(d.token), page.MinToken, f.tokenFlag, tokenEnv)
	}
	return d, nil
}

// options are a page's for these.
func (d admission) options(o page.Options) page.Options {
	o.Token, o.Loopback = d.token, d.loopback
	return o
}

// open listens.
func (d admission) open(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.listen)
	if err != nil {
		return nil, fmt.Errorf("serve the page at %s: %w: give another address by --%s", d.listen, err, d.listenFlag)
	}
	return l, nil
}

// announce says where the page is. A token that was given is not repeated.
func (d admission) announce(w io.Writer, of, at string) error {
	text := fmt.Sprintf("Interface traffic of %s: %s\n", of, at)
	switch {
	case d.made:
		text += "Token: " + d.token + "\n"
	case d.token != "":
		text += "Sign in with the token.\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// isLoopback reports whether an address to listen at is one that this machine alone reaches.
func isLoopback(listen string) (bool, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false, err
	}
	if strings.EqualFold(host, "localhost") {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback(), nil
}
