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

// block is the part of the loopback range that one mesh owns, 127.N.0.0/16. Whoever listens on 127.N.0.1:apiPort owns it,
// so meshes that run side by side, of one user or of several, never share an address and need no lock file.
type block struct {
	n     byte
	api   net.Listener
	nPods int
}

// The ports at 127.N.0.1, and where in the block the other addresses lie.
const (
	apiPort        = 6443
	xdsPort        = 15010
	debugPort      = 8080
	monitoringPort = 15014
	adminPort      = 15000

	firstBlock, lastBlock = 17, 250
	podsFrom, callsFrom   = 16, 64 // third byte of the first pod address and of the first address for calls
	perByte               = 250
	maxPods               = (callsFrom - podsFrom) * perByte
)

// takeBlock finds a free block. It tries each block once, from a random one on.
func takeBlock(ctx context.Context) (*block, error) {
	var lc net.ListenConfig
	span := lastBlock - firstBlock + 1
	from := rand.IntN(span)
	for i := range span {
		n := byte(firstBlock + (from+i)%span)
		l, err := lc.Listen(ctx, "tcp4", fmt.Sprintf("127.%d.0.1:%d", n, apiPort))
		if err == nil {
			return &block{n: n, api: l}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("loopback address 127.%d.0.1: %w (the local mesh needs all of 127.0.0.0/8 to be loopback, as Linux has it)", n, err)
		}
	}
	return nil, fmt.Errorf("all %d loopback blocks from 127.%d to 127.%d are in use by other meshes: end some with 'squall down'", span, firstBlock, lastBlock)
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
