package local

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
	"squall/internal/proc"
)

func testService(namespace, name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip}}
}

func TestHostsLines(t *testing.T) {
	services := []*corev1.Service{testService("a", "cart", "127.9.128.1"), testService("b", "cart", ""), testService("a", "localhost", "127.9.128.2")}
	const machine = "# of the machine\n127.0.0.1 localhost\n10.0.0.1 cart.a CART files # old\n10.0.0.2 cart\nnonsense\n"
	const localNames = "localhost.a.svc.cluster.local localhost.a.svc localhost.a\n"
	const cart = "cart.a.svc.cluster.local cart.a.svc cart.a cart\n"
	for _, c := range []struct {
		name, machine string
		sidecar       bool
		want          []string
	}{
		{"with a sidecar", machine, true, []string{
			"127.0.0.1\tlocalhost\n", "10.0.0.1\tfiles\n", "127.9.64.1\t" + cart,
			"127.9.64.1\tcart.b.svc.cluster.local cart.b.svc cart.b\n", "127.9.64.1\t" + localNames,
		}},
		{"without one", machine, false, []string{"127.0.0.1\tlocalhost\n", "10.0.0.1\tfiles\n", "127.9.128.1\t" + cart, "127.9.128.2\t" + localNames}},
		{"a machine without names", "", false, []string{"127.0.0.1\tlocalhost\n", "127.9.128.1\t" + cart, "127.9.128.2\t" + localNames}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &pod{object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}}, calls: netip.MustParseAddr("127.9.64.1")}
			if c.sidecar {
				p.object.Labels = map[string]string{mesh.TLSModeLabel: "istio"}
			}
			if got := hostsLines(p, services, c.machine); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The file stays the same one, and every line that stays wanted stays where it is.
func TestHostsAreWrittenInPlace(t *testing.T) {
	h := hosts{path: filepath.Join(t.TempDir(), "hosts")}
	update := func(want ...string) string {
		t.Helper()
		if err := h.update(want); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(h.path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := update("1 a\n", "1 bb\n", "1 c\n"); got != "1 a\n1 bb\n1 c\n" {
		t.Errorf("new: %q", got)
	}
	first, err := os.Stat(h.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want []string
		file string
	}{
		{[]string{"1 a\n", "1 c\n"}, "1 a\n\n\n\n\n\n1 c\n"},
		{[]string{"1 a\n", "1 c\n", "1 d\n"}, "1 a\n\n\n\n\n\n1 c\n1 d\n"},
		{[]string{"1 ee\n", "1 d\n"}, "\n\n\n\n1 ee\n\n\n\n\n1 d\n"},
		{nil, strings.Repeat("\n", 17)},
	} {
		if got := update(c.want...); got != c.file {
			t.Errorf("%q: %q, want %q", c.want, got, c.file)
		}
	}
	if last, err := os.Stat(h.path); err != nil || !os.SameFile(first, last) {
		t.Errorf("it is another file: %v", err)
	}
}

func TestOtherSourcesOfNames(t *testing.T) {
	for _, c := range []struct{ name, machine, want string }{
		{"files first", "passwd: files\nhosts:  files mdns4_minimal [NOTFOUND=return] dns\n", ""},
		{"resolved first", "passwd: files\nhosts: mymachines resolve [!UNAVAIL=return] files dns # all\ngroup: files\n",
			"passwd: files\nhosts: files mymachines resolve [!UNAVAIL=return] files dns\ngroup: files\n"},
		{"nothing of hosts", "passwd: files\n", ""},
		{"no file", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, dir := t.TempDir(), t.TempDir()
			for _, d := range []string{"etc", "var/run/nscd"} {
				if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			path, socket := filepath.Join(root, switchFile), filepath.Join(root, nscdSocket)
			if c.machine != "" {
				if err := os.WriteFile(path, []byte(c.machine), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(socket, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			own := filepath.Join(dir, "nsswitch.conf")
			want := []proc.Bind{{From: unconnectable, To: socket}}
			if c.want != "" {
				want = append([]proc.Bind{{From: own, To: path}}, want...)
			}
			got, err := otherSources(dir, root)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
			if b, err := os.ReadFile(own); string(b) != c.want || (c.want != "" && err != nil) {
				t.Errorf("its nsswitch.conf is %q, %v; want %q", b, err, c.want)
			}
		})
	}
}

// A program that cannot have names is started all the same, and its log says why.
func TestProgramsWithoutNames(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	m := &Mesh{opts: Options{Log: func(string) string { return log }}, naming: &naming{known: make(chan struct{}), err: errors.New("forbidden here")}}
	close(m.naming.known)
	p := &pod{object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{mesh.TLSModeLabel: "istio"}}}, calls: netip.MustParseAddr("127.9.64.1")}
	binds, unnamed, err := m.naming.await(t.Context(), p)
	if len(binds) > 0 || unnamed == nil || err != nil {
		t.Fatalf("got %v, %v, %v", binds, unnamed, err)
	}
	if err := m.sayUnnamed(p, unnamed); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(log)
	for _, want := range []string{"cannot call other services by name", "forbidden here", "squall doctor", "127.9.64.1"} {
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("the log says %q, %v; want …%s…", b, err, want)
		}
	}
}
