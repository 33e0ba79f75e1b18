package kind

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"squall/internal/toolchain"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMerge(t *testing.T) {
	patch := write(t, t.TempDir(), "patch.yaml", "networking: {disableDefaultCNI: true, ipFamily: null}\nfeatureGates: {A: true}\n")
	merged, err := Merge("../../kind-config.yaml", patch)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Kind         string
		Nodes        []any
		Networking   map[string]any
		FeatureGates map[string]bool
	}
	if err := yaml.Unmarshal(merged, &got); err != nil {
		t.Fatal(err)
	}
	_, family := got.Networking["ipFamily"]
	if got.Kind != "Cluster" || len(got.Nodes) != 1 || got.Networking["disableDefaultCNI"] != true ||
		got.Networking["apiServerAddress"] != "127.0.0.1" || family || !got.FeatureGates["A"] {
		t.Errorf("merged:\n%s", merged)
	}
}

// The file that is wrong is named, and why.
func TestInvalidConfig(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "good.yaml", "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
	for name, tt := range map[string]struct{ config, patch, want string }{
		"absent":      {filepath.Join(dir, "absent.yaml"), "", "absent.yaml: no such file"},
		"no YAML":     {write(t, dir, "tab.yaml", "a:\n\tb: c\n"), "", "tab.yaml: yaml: line 2"},
		"a list":      {write(t, dir, "list.yaml", "[a]\n"), "", "list.yaml: it is no YAML object"},
		"twice":       {write(t, dir, "twice.yaml", "kind: Cluster\nkind: Cluster\n"), "", `"kind" already set`},
		"other kind":  {write(t, dir, "pod.yaml", "kind: Pod\napiVersion: v1\n"), "", `it is kind "Pod" of "v1": write kind: Cluster`},
		"patch wrong": {good, write(t, dir, "patch.yaml", "a: [\n"), "patch.yaml: yaml"},
		"no patch":    {good, filepath.Join(dir, "none.yaml"), "none.yaml: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := newCluster(Options{Name: "c", Dir: dir, Config: tt.config, Patch: tt.patch})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.config()
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "correct the file") {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	var o Options
	o.FromEnvironment(func(name string) string {
		return map[string]string{"KIND_NODE_IMAGE": "i", "SQUALL_KIND_CONFIG": "p", "SQUALL_ISTIO_VALUES": "v"}[name]
	})
	if o.NodeImage != "i" || o.Patch != "p" || o.IstioValues != "v" {
		t.Errorf("%+v", o)
	}
	o.FromEnvironment(func(string) string { return "" })
	if o.NodeImage != "i" {
		t.Error("an empty variable has emptied the field")
	}
	for _, name := range []string{"", "A", "a b", "-a", "a/b", strings.Repeat("a", 50)} {
		if _, err := Ensure(t.Context(), Options{Name: name, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "lower-case letters") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	_, err := Ensure(t.Context(), Options{Name: "c", Dir: t.TempDir(), IstioValues: "/nonexistent/values.yaml"})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/values.yaml") || !strings.Contains(err.Error(), "SQUALL_ISTIO_VALUES") {
		t.Errorf("absent values: %v", err)
	}
}

// Without Docker, what is missing is said before anything is made.
func TestNoDocker(t *testing.T) {
	ensure := func(t *testing.T) error {
		t.Helper()
		dir := t.TempDir()
		_, err := Ensure(t.Context(), Options{Name: "squall-absent", Dir: dir, Config: "../../kind-config.yaml"})
		if _, stat := os.Stat(filepath.Join(dir, "squall-absent.json")); stat == nil {
			t.Error("a state was written")
		}
		return err
	}
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if err := ensure(t); err == nil || !strings.Contains(err.Error(), "docker is not in PATH\ninstall Docker") {
			t.Error(err)
		}
		for _, f := range Doctor(t.Context(), Options{Name: "c", Dir: t.TempDir()}, toolchain.Options{Root: "../.."}) {
			if !f.OK {
				t.Errorf("%+v counts", f)
			}
			if f.Name == "docker" && !strings.HasPrefix(f.Detail, "not available: ask Docker: docker is not in PATH -> install") {
				t.Errorf("%+v", f)
			}
		}
	})
	real := os.Getenv("PATH")
	t.Run("not running", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", "unix:///nonexistent")
		dockerSays(t, "failed to connect to the docker API at unix:///nonexistent; check if the path is correct and if the daemon is running: "+
			"dial unix /nonexistent: connect: no such file or directory")
		try := func() {
			t.Helper()
			if err := ensure(t); err == nil || !strings.Contains(err.Error(), "/nonexistent") || !strings.Contains(err.Error(), "start Docker") {
				t.Error(err)
			}
		}
		try()
		t.Setenv("PATH", real)
		if _, err := exec.LookPath("docker"); err == nil { // the real one says the same
			try()
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		// As a user other than root is told, whoever runs this test.
		dockerSays(t, "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "+
			`Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.41/version": dial unix /var/run/docker.sock: connect: permission denied`)
		if err := ensure(t); err == nil || !strings.Contains(err.Error(), "/var/run/docker.sock") || !strings.Contains(err.Error(), "usermod -aG docker") {
			t.Error(err)
		}
	})
}

// dockerSays puts a docker into PATH that fails with these words, which are those of the real one.
func dockerSays(t *testing.T, words string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncat >&2 <<'EOF'\n" + words + "\nEOF\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// What kind, docker and istioctl have printed, word for word, and what Squall makes of it.
func TestExplain(t *testing.T) {
	for output, want := range map[string]string{
		"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?":                                                                                                                                                         "start Docker",
		"failed to connect to the docker API at unix:///nonexistent; check if the path is correct and if the daemon is running: dial unix /nonexistent: connect: no such file or directory":                                                                         "start Docker",
		"permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version\": dial unix: permission denied":                                                               "usermod -aG docker",
		" • Ensuring node image\nERROR: failed to create cluster: failed to pull image \"kindest/node:v0\": command \"docker pull kindest/node:v0\" failed with error: exit status 1":                                                                               "KIND_NODE_IMAGE",
		"ERROR: failed to create cluster: command \"docker run\" failed with error: exit status 125\nCommand Output: docker: Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.1:80 failed: port is already allocated.": "extraPortMappings",
		"ERROR: failed to create cluster: unable to decode config: yaml: unmarshal errors:\n  line 3: field nodez not found in type v1alpha4.Cluster":                                                                                                               "correct kind's configuration",
		"Error response from daemon: write /var/lib/docker/tmp/x: no space left on device":                                                                                                                                                                          "docker system prune",
		"ERROR: failed to create cluster: could not find a log line that matches \"Reached target .*Multi-User System.*|detected cgroup v1\"":                                                                                                                       "known-issues",
		"something new": "see the error above",
	} {
		err := explain("kind create", errors.New("exit status 1"), output)
		var known *Error
		if !errors.As(err, &known) || !strings.Contains(known.Fix, want) {
			t.Errorf("%s\n gives %v, want %q", output, err, want)
		}
	}
	if err := explain("kind create", context.Canceled, "no space left on device"); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "prune") {
		t.Errorf("cancelled: %v", err)
	}
}

// What a program says is told as it says it, without the command that it ran.
func TestTelling(t *testing.T) {
	for output, want := range map[string]string{
		"a\nERROR: failed to create cluster: unable to decode config: yaml: unmarshal errors:\n  line 3: field nodez not found in type v1alpha4.Cluster\n":                                                   "failed to create cluster: unable to decode config: yaml: unmarshal errors: line 3: field nodez not found in type v1alpha4.Cluster",
		"ERROR: failed to create cluster: command \"docker run x\" failed with error: exit status 125\nCommand Output: 89fbe54f\ndocker: Error response from daemon: Bind failed\n\nRun 'docker run --help'": "failed to create cluster: docker: Error response from daemon: Bind failed",
		"ERROR: no such cluster": "no such cluster",
		"one\ntwo\n\n":           "two",
		"":                       "",
	} {
		if got := telling(output); got != want {
			t.Errorf("%q gives %q, want %q", output, got, want)
		}
	}
}

func TestState(t *testing.T) {
	c, err := newCluster(Options{Name: "c", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := c.readState(); err != nil || st.Phase != "" {
		t.Errorf("%v, %v", st, err)
	}
	if err := c.writeState(state{Phase: making}); err != nil {
		t.Fatal(err)
	}
	if st, err := c.readState(); err != nil || st.Phase != making {
		t.Errorf("%v, %v", st, err)
	}
	write(t, c.Dir, "c.json", "{")
	if _, err := c.readState(); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a broken file: %v", err)
	}
}

// A second run waits for the first, and gives up with its context.
func TestLock(t *testing.T) {
	var told []string
	c, err := newCluster(Options{Name: "c", Dir: t.TempDir(), Progress: func(u toolchain.Update) { told = append(told, u.String()) }})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := c.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := c.lock(ctx); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("a lock that is taken: %v", err)
	}
	if len(told) != 2 || !strings.HasPrefix(told[0], "waiting for another run") {
		t.Errorf("told: %q", told)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if unlock, err = c.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

func TestSteps(t *testing.T) {
	log := "Creating cluster \"squall\" ...\n • Ensuring node image (kindest/node:v1) 🖼  ...\n ✓ Ensuring node image (kindest/node:v1) 🖼\n • Preparing nodes 📦  ...\n"
	if got := kindStep(log); got != "Preparing nodes 📦" {
		t.Errorf("%q", got)
	}
	if got := kindStep("Creating"); got != "" {
		t.Errorf("%q", got)
	}
	if got := lastLine("- Processing resources for Istio core.\r✔ Istio core installed\n- Processing resources for Istiod.\n"); got != "Processing resources for Istiod" {
		t.Errorf("%q", got)
	}
}

func TestPullFailures(t *testing.T) {
	waiting := func(reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "app", Image: "docker.io/mysql:8", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "Back-off pulling image"},
		}}
	}
	pod := func(name, reason string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "squall"},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting(reason)}}}
	}
	client := fake.NewClientset(pod("a", "ImagePullBackOff"), pod("b", "ImagePullBackOff"), pod("c", "ContainerCreating"), pod("d", "ErrImagePull"))
	failures, err := PullFailures(t.Context(), client, "squall")
	if err != nil || len(failures) != 2 {
		t.Fatalf("%+v, %v", failures, err)
	}
	if got := (&PullError{failures}).Error(); strings.Count(got, "the image docker.io/mysql:8 cannot be pulled") != 1 {
		t.Error(got)
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{{"1.31.1", "1.31.0", true}, {"1.31", "1.31.1", true}, {"1.30.1", "1.31.1", false}, {"", "1.31.1", false}, {"1.31-distroless", "1.31.1", false}} {
		if got := sameMinor(tt.a, tt.b); got != tt.same {
			t.Errorf("%s and %s: %v", tt.a, tt.b, got)
		}
	}
}
