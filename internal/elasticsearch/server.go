package elasticsearch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"squall/internal/proc"
)

const (
	oldestJava  = 21
	nobodyID    = 65534
	healthEvery = 200 * time.Millisecond
	startTime   = 10 * time.Minute
	stopGrace   = 20 * time.Second
)

// Options are how a server is started.
type Options struct {
	Home string // as Fetch returns it
	Dir  string // for its data and logs; what is there from before is used again. Others may have to pass through its parents
	Port int    // 0 is a free one
	Heap string // Java's -Xms and -Xmx; empty is 512m

	Settings map[string]string // more of elasticsearch.yml's
}

// Server is one node, without security, at a loopback address.
type Server struct {
	URL  string
	PID  int
	proc *proc.Process
	log  string
}

// Start starts a node of its own cluster in a group, as user nobody when this process is root's, and waits until it is healthy. It ends with
// the group or by Stop.
func Start(ctx context.Context, group *proc.Group, o Options) (*Server, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	if o.Port == 0 {
		if o.Port, err = freePort(ctx); err != nil {
			return nil, fmt.Errorf("start Elasticsearch: %w", err)
		}
	}
	if o.Heap == "" {
		o.Heap = "512m"
	}
	if err := prepareDir(o); err != nil {
		return nil, fmt.Errorf("start Elasticsearch: %w", err)
	}
	spec := specOf(o, java)
	p, err := group.Start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start Elasticsearch: %w", err)
	}
	s := &Server{URL: fmt.Sprintf("http://127.0.0.1:%d", o.Port), PID: p.PID(), proc: p, log: spec.LogFile}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start Elasticsearch: %w; see %s", err, s.log), p.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// specOf is the program: the launcher of the archive, which starts the server and passes signals on to it.
func specOf(o Options, java string) proc.Spec {
	settings := map[string]string{
		"discovery.type": "single-node", "xpack.security.enabled": "false", "network.host": "127.0.0.1", "http.port": strconv.Itoa(o.Port),
		"transport.port": "0", "path.data": filepath.Join(o.Dir, "data"), "path.logs": filepath.Join(o.Dir, "logs"), "cluster.name": "squall", "node.name": "squall-0",
	}
	for name, value := range o.Settings {
		settings[name] = value
	}
	var args []string
	path := filepath.Join(o.Home, "bin", "elasticsearch")
	if os.Getuid() == 0 {
		id := strconv.Itoa(nobodyID)
		args = append(args, "--reuid="+id, "--regid="+id, "--clear-groups", "--pdeathsig=KILL", path)
		path = "setpriv"
	}
	for name, value := range settings {
		args = append(args, "-E", name+"="+value)
	}
	tmp := filepath.Join(o.Dir, "tmp")
	return proc.Spec{
		Name: "elasticsearch", Path: path, Args: args, Dir: o.Dir, LogFile: filepath.Join(o.Dir, "elasticsearch.log"), Grace: stopGrace,
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.Dir, "ES_JAVA_HOME=" + java, "ES_JAVA_OPTS=-Xms" + o.Heap + " -Xmx" + o.Heap,
			"ES_TMPDIR=" + tmp, "CLI_JAVA_OPTS=-Djava.io.tmpdir=" + tmp, // the launcher has files of its own, and leaves them
			"ES_PATH_CONF=" + filepath.Join(o.Dir, "config")},
	}
}

// prepareDir makes the folders, and gives them to the user that the server runs as.
func prepareDir(o Options) error {
	for _, name := range []string{"", "data", "logs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, name), 0o755); err != nil {
			return err
		}
	}
	config := filepath.Join(o.Dir, "config")
	if _, err := os.Stat(config); errors.Is(err, os.ErrNotExist) {
		if err := os.CopyFS(config, os.DirFS(filepath.Join(o.Home, "config"))); err != nil {
			return err
		}
	}
	if os.Getuid() != 0 {
		return nil
	}
	return filepath.WalkDir(o.Dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobodyID, nobodyID)
	})
}

// await asks for the node's health until it is there. The archive lacks GET /.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("it was not healthy within %v", startTime))
	defer cancel()
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	var last error
	for {
		if last = s.Healthy(ctx); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-s.proc.Done():
			return fmt.Errorf("it ended: %w", s.proc.Err())
		case <-ticker.C:
		}
	}
}

// Healthy asks the node once.
func (s *Server) Healthy(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/_cluster/health", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	var health struct {
		Status string `json:"status"`
	}
	err = errors.Join(json.NewDecoder(res.Body).Decode(&health), res.Body.Close())
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK || health.Status == "red" || health.Status == "":
		return fmt.Errorf("its health is %q (%d)", health.Status, res.StatusCode)
	}
	return nil
}

// Stop ends the node and keeps its data.
func (s *Server) Stop(ctx context.Context) error { return s.proc.Stop(ctx) }

// freePort is one that nobody listens at now.
func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// findJava is the folder of a JDK or JRE that Elasticsearch runs on.
func findJava() (string, error) {
	candidates := []string{os.Getenv("ES_JAVA_HOME"), os.Getenv("JAVA_HOME")}
	for _, pattern := range []string{"/usr/lib/jvm/*", "/opt/java/*", "/Library/Java/JavaVirtualMachines/*/Contents/Home"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		candidates = append(candidates, found...)
	}
	for _, dir := range candidates {
		if dir != "" && javaVersion(dir) >= oldestJava {
			return dir, nil
		}
	}
	return "", fmt.Errorf("Elasticsearch needs Java %d or newer, and there is none in ES_JAVA_HOME, JAVA_HOME and /usr/lib/jvm: install one "+ //nolint:staticcheck // a name
		"(on Debian 13: apt-get install openjdk-21-jre-headless; else Temurin), or give the URL of an Elasticsearch that runs", oldestJava)
}

// javaVersion reads a JDK's file release; 0 is none.
func javaVersion(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return 0
	}
	m := regexp.MustCompile(`JAVA_VERSION="(\d+)`).FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return n
}
