package local

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A port that another program has on all addresses of the machine is named, before the proxy goes without it.
func TestPortsFree(t *testing.T) {
	taken, err := net.Listen("tcp4", "0.0.0.0:0") //nolint:gosec // as the other program does
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	port := int32(taken.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
	of := func(protocol corev1.Protocol) *pod {
		return &pod{
			ip: netip.MustParseAddr("127.201.16.1"), calls: netip.MustParseAddr("127.201.16.2"),
			object: &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{{ContainerPort: port, Protocol: protocol}}}}}},
		}
	}
	if err := portsFree(t.Context(), of(corev1.ProtocolUDP)); err != nil {
		t.Errorf("the proxy takes no UDP: %v", err)
	}
	if err := portsFree(t.Context(), of(corev1.ProtocolTCP)); err == nil || !strings.Contains(err.Error(), "is taken: another program on this machine listens at it on all addresses") {
		t.Errorf("%v", err)
	}
}
