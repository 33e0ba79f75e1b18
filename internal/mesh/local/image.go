package local

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"squall/internal/mesh"
	"squall/internal/toolchain"
)

// LoadImage is the image of the load generator.
const LoadImage = mesh.LoadImage

// program is what runs in place of a container image.
type program struct {
	Path string
	// Command are the arguments in place of the image's own CMD, used when the container gives none.
	Command []string
	// Listen are arguments that are appended to make the program listen where the local mesh says. $(POD_IP) and
	// $(PORT_n), the port that stands for containerPort n, are expanded in them.
	Listen []string
	// Env are variables that the image sets.
	Env map[string]string
	// Bare starts the program without namespaces of its own, so that it does not know the names of the mesh. It has to end what it started
	// when it is killed.
	Bare bool
	// Builtin says that Squall's own process is the application: the load generator.
	Builtin bool
}

// Facts are what Check has to know about the machine.
type Facts struct {
	Images    []string // the images that a program stands for, without registry and tag, sorted
	FirstPort int      // the lowest port that this user may listen at
}

// ReadFacts finds out the facts. extra are the user's own NAME=PROGRAM images; a wrong one is an error.
func ReadFacts(extra map[string]string) (Facts, error) {
	table := images(toolchain.Tools{})
	if err := addImages(table, extra); err != nil {
		return Facts{}, err
	}
	first, err := firstPort()
	return Facts{Images: sortedKeys(table), FirstPort: first}, err
}

// firstPort is the lowest port that this user may listen at.
func firstPort() (int, error) {
	if os.Geteuid() == 0 {
		return 1, nil
	}
	const setting = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
	b, err := os.ReadFile(setting)
	if os.IsNotExist(err) {
		return 1024, nil
	}
	if err != nil {
		return 0, fmt.Errorf("lowest port of this user: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("lowest port of this user: %s: %w", setting, err)
	}
	return n, nil
}

// images is the table from images, without registry and tag, to programs.
func images(tools toolchain.Tools) map[string]program {
	out := map[string]program{
		"mccutchen/go-httpbin": {
			Path:   tools.HTTPBin,
			Listen: []string{"-host", "$(POD_IP)", "-port", "$(PORT_8080)"},
		},
		"kennethreitz/httpbin": { // the one that go-httpbin was made after, which listens at port 80
			Path:   tools.HTTPBin,
			Listen: []string{"-host", "$(POD_IP)", "-port", "$(PORT_80)"},
		},
		"fortio/fortio": {
			Path:    tools.Fortio,
			Command: []string{"server"},
			Listen: []string{
				"-http-port", "$(POD_IP):$(PORT_8080)", "-grpc-port", "$(POD_IP):$(PORT_8079)",
				"-tcp-port", "disabled", "-udp-port", "disabled", "-redirect-port", "disabled", "-config-dir", "",
			},
		},
		"squall/issuer": {Path: tools.Issuer},
		"squall/es-flowcontrol": {
			Path: tools.ESFlowControl,
			Listen: []string{
				"-http", "$(POD_IP):$(PORT_9200)", "-admin", "$(POD_IP):$(PORT_9201)", "-transport", "$(POD_IP):$(PORT_9300)",
			},
		},
		LoadImage:                     {Builtin: true},
		"elasticsearch":               elasticsearch(tools.Elasticsearch),
		"elasticsearch/elasticsearch": elasticsearch(tools.Elasticsearch),
	}
	for name, init := range map[string]string{"mysql": "", "mariadb": "", "istio/examples-bookinfo-mysqldb": "bookinfo.sql"} {
		p := program{Path: tools.MySQL}
		if init != "" {
			p.Env = map[string]string{"SQUALL_MYSQL_INIT": init}
		}
		out[name] = p
	}
	for name, p := range bookinfo(tools.Bookinfo) {
		out[name] = p
	}
	return out
}

func elasticsearch(e toolchain.Elasticsearch) program {
	return program{
		Path:   e.Path,
		Bare:   true, // Java finds itself below /proc by its process id
		Listen: []string{"$(POD_IP)", "$(PORT_9200)", "$(PORT_9300)"},
		Env:    map[string]string{"SQUALL_ELASTICSEARCH_HOME": e.Home, "ES_JAVA_HOME": e.Java},
	}
}

// bookinfo are the images of Bookinfo: the project's own, whose arguments name the service, and upstream's, which are each of one
// service and version.
func bookinfo(path string) map[string]program {
	out := map[string]program{"squall/bookinfo": {Path: path}}
	for image, p := range map[string]program{
		"productpage-v1":        {Command: []string{"productpage"}},
		"details-v1":            {Command: []string{"details"}},
		"details-v2":            {Command: []string{"details"}, Env: map[string]string{"ENABLE_EXTERNAL_BOOK_SERVICE": "true"}},
		"reviews-v1":            {Command: []string{"reviews"}, Env: reviews("v1", "false", "black")},
		"reviews-v2":            {Command: []string{"reviews"}, Env: reviews("v2", "true", "black")},
		"reviews-v3":            {Command: []string{"reviews"}, Env: reviews("v3", "true", "red")},
		"ratings-v1":            {Command: []string{"ratings"}, Env: ratings("v1")},
		"ratings-v2":            {Command: []string{"ratings"}, Env: ratings("v2")},
		"ratings-v-faulty":      {Command: []string{"ratings"}, Env: ratings("v-faulty")},
		"ratings-v-delayed":     {Command: []string{"ratings"}, Env: ratings("v-delayed")},
		"ratings-v-unavailable": {Command: []string{"ratings"}, Env: ratings("v-unavailable")},
		"ratings-v-unhealthy":   {Command: []string{"ratings"}, Env: ratings("v-unhealthy")},
	} {
		p.Path = path
		out["istio/examples-bookinfo-"+image] = p
	}
	return out
}

func reviews(version, ratings, color string) map[string]string {
	return map[string]string{"SERVICE_VERSION": version, "ENABLE_RATINGS": ratings, "STAR_COLOR": color}
}

func ratings(version string) map[string]string { return map[string]string{"SERVICE_VERSION": version} }

// addImages adds the user's NAME=PROGRAM entries. A program line is split at white space; $(POD_IP) and $(PORT_n) are
// expanded in it, and the environment has HOST and PORT.
func addImages(table map[string]program, extra map[string]string) error {
	for name, line := range extra {
		words := strings.Fields(line)
		if name == "" || len(words) == 0 {
			return fmt.Errorf("image %q: write NAME=PROGRAM [ARG…]", name+"="+line)
		}
		path := words[0]
		if strings.ContainsRune(path, filepath.Separator) {
			abs, err := filepath.Abs(path)
			if err != nil {
				return fmt.Errorf("image %q: %w", name, err)
			}
			path = abs
		}
		if _, err := exec.LookPath(path); err != nil {
			return fmt.Errorf("image %q: its program cannot be run: %w", name, err)
		}
		table[imageName(name)] = program{Path: path, Listen: words[1:]}
	}
	return nil
}

// imageName is an image without registry host, tag and digest. Istio's own images have one name in each of its registries.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	if name, ok := strings.CutPrefix(image, "registry.istio.io/release/"); ok {
		return "istio/" + name
	}
	if host, rest, ok := strings.Cut(image, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		image = rest
	}
	return strings.TrimPrefix(image, "library/")
}

// cloneLabels copies labels; the result is never nil.
func cloneLabels(l map[string]string) map[string]string {
	out := maps.Clone(l)
	if out == nil {
		out = map[string]string{}
	}
	return out
}

// programOf is what runs in place of a container: its command where that is a file of this machine, else what stands for its image.
func (m *Mesh) programOf(c *corev1.Container) program {
	p, known := m.images[imageName(c.Image)]
	if len(c.Command) > 0 && !(known && ofImage(c)) {
		return program{Path: c.Command[0]}
	}
	return p
}

// ofImage reports whether a container's command is the image's own program, as far as the image's name tells.
func ofImage(c *corev1.Container) bool {
	return filepath.Base(c.Command[0]) == filepath.Base(imageName(c.Image))
}

// isExecutable reports whether a path is that of a file of this machine that can be run. Names that have to be searched for
// are the image's.
func isExecutable(path string) bool {
	if !filepath.IsAbs(path) {
		return false
	}
	_, err := exec.LookPath(path)
	return err == nil
}
