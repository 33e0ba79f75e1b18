package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
)

// block is the part of the loopback range that one mesh owns, 127.N.0.0/16. Whoever listens on 127.N.0.1:lockPort owns it,
// so meshes that run side by side, of one user or of several, never share an address and need no lock file. The owner
// listens until the last of its processes is gone.
type block struct {
	n            byte
	lock         net.Listener
	api          net.Listener
	unprivileged bool // nobody may listen at the ports 80 and 443 of the block
	nPods        int
}

// The ports at 127.N.0.1, and where in the block the other addresses lie. A program that listens at such a port on all
// addresses takes it from every block, so these are none that others like to use.
const (
	lockPort       = 15999
	apiPort        = 15643
	xdsPort        = 15010
	xdsTLSPort     = 15012
	debugPort      = 15081
	monitoringPort = 15014
	adminPort      = 15000
	statusPort     = 15021
	recordsPort    = 15017

	firstBlock, lastBlock = 17, 250
	podsFrom, callsFrom   = 16, 64 // third byte of the first pod address and of the first address for calls
	perByte               = 250
	maxPods               = (callsFrom - podsFrom) * perByte
)

// takeBlock finds a free block. It tries each block once, from a random one on.
func takeBlock(ctx context.Context) (*block, error) {
	span := lastBlock - firstBlock + 1
	from := rand.IntN(span)
	var busy error
	for i := range span {
		b, err := claimBlock(ctx, byte(firstBlock+(from+i)%span))
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%w (the local mesh needs all of 127.0.0.0/8 to be loopback, as Linux has it)", err)
		}
		busy = err
	}
	return nil, fmt.Errorf("all %d loopback blocks from 127.%d to 127.%d are in use, by meshes that 'squall down' ends or by a program that listens on all addresses: %w",
		span, firstBlock, lastBlock, busy)
}

// claimBlock takes the block n if all the control ports in it are free: another's processes may outlive it by a moment.
func claimBlock(ctx context.Context, n byte) (_ *block, err error) {
	b := &block{n: n}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.release())
		}
	}()
	if b.lock, err = b.listen(ctx, lockPort); err != nil {
		return nil, err
	}
	for _, port := range []int{xdsPort, xdsTLSPort, debugPort, monitoringPort, recordsPort} {
		l, err := b.listen(ctx, port)
		if err != nil {
			return nil, err
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	if b.api, err = b.listen(ctx, apiPort); err != nil {
		return nil, err
	}
	for _, port := range []int{80, 443} { // they are this user's or not, and free or taken on all addresses
		l, err := b.listen(ctx, port)
		if err != nil {
			b.unprivileged = true
		} else if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *block) listen(ctx context.Context, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", b.control(port))
	if err != nil {
		return nil, fmt.Errorf("loopback block 127.%d: %w", b.n, err)
	}
	return l, nil
}

// release gives the block up. It may be called again.
func (b *block) release() error {
	var errs []error
	for _, l := range []net.Listener{b.api, b.lock} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (b *block) control(port int) string { return fmt.Sprintf("127.%d.0.1:%d", b.n, port) }

// nextPod gives the address of a new pod and the one at which its proxy takes the pod's calls.
func (b *block) nextPod() (pod, calls netip.Addr, err error) {
	if b.nPods >= maxPods {
		return pod, calls, fmt.Errorf("more than %d pods were started in this mesh", maxPods)
	}
	i := b.nPods
	b.nPods++
	third, fourth := byte(i/perByte), byte(1+i%perByte)
	return netip.AddrFrom4([4]byte{127, b.n, podsFrom + third, fourth}), netip.AddrFrom4([4]byte{127, b.n, callsFrom + third, fourth}), nil
}

// serviceCIDR is the range of the services' cluster IPs.
func (b *block) serviceCIDR() string { return fmt.Sprintf("127.%d.128.0/17", b.n) }
