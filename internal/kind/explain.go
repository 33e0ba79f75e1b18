package kind

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"squall/internal/proc"
)

const (
	fixDocker = "install Docker (https://docs.docker.com/get-docker) and put it in PATH; the environment local needs none."
	fixConfig = "correct kind's configuration."
)

// causes are what a program's output tells, the most telling first, and what to do about each.
func causes() []struct{ fix, words string } {
	return []struct{ fix, words string }{
		{"let your user use Docker: sudo usermod -aG docker $USER, then log in anew; or give Squall a daemon of your own with DOCKER_HOST.",
			"permission denied while trying to connect|dial unix .*permission denied"},
		{"start Docker (systemctl start docker, or Docker Desktop); DOCKER_HOST and docker context say which daemon is asked.",
			"cannot connect to the docker daemon|failed to connect to the docker api|is the docker daemon running|error during connect"},
		{"free some space where Docker keeps images and containers: docker system df, docker system prune.",
			"no space left on device|disk quota exceeded"},
		{"something listens at that port already: end it, or give another port in kind's configuration (networking.apiServerPort, " +
			"extraPortMappings; 0 is a free one).",
			"port is already allocated|address already in use|ports are not available"},
		{"the machine must reach the registry of the node image: check the network and docker login, or name an image that is there with " +
			"KIND_NODE_IMAGE.", "failed to pull image|pull access denied|manifest unknown|manifest for .* not found"},
		{fixConfig, "unable to decode config|invalid configuration|unknown apiversion|unknown kind|error converting|error unmarshaling|" +
			"yaml: |field .* not found in type|cannot unmarshal"},
		{"raise the limits of inotify: sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512.",
			"too many open files"},
		{"the node did not start, often for want of memory or of cgroups: see the log, docker info, and " +
			"https://kind.sigs.k8s.io/docs/user/known-issues.", "could not find a log line that matches|failed to init node|the kubelet is not running"},
		{"another network of Docker has the addresses: docker network ls, docker network prune.", "pool overlaps|non-overlapping ipv4 address pool"},
	}
}

// explain turns a failure into an *Error that says what to do. What was cancelled stays what it is.
func explain(what string, err error, output string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if line := telling(output); line != "" {
		err = &failure{line, err}
	}
	text := strings.ToLower(err.Error() + "\n" + output)
	for _, c := range causes() {
		if regexp.MustCompile(c.words).MatchString(text) {
			return &Error{what, c.fix, err}
		}
	}
	return &Error{what, "see the error above.", err}
}

// failure is a program that failed and said why.
type failure struct {
	line string
	err  error
}

// Error is what the program said, and where the rest is.
func (f *failure) Error() string {
	var exit *proc.ExitError
	if errors.As(f.err, &exit) {
		return f.line + " (log: " + exit.LogFile + ")"
	}
	return f.err.Error() + ": " + f.line
}

// Unwrap returns the failure itself.
func (f *failure) Unwrap() error { return f.err }

// telling is what a program's output says went wrong: kind and istioctl begin it with a word for it; else the last line.
func telling(output string) string {
	lines := strings.FieldsFunc(output, func(r rune) bool { return r == '\n' })
	for i, line := range lines {
		for _, word := range []string{"ERROR: ", "Error: "} {
			if rest, ok := strings.CutPrefix(line, word); ok {
				return withRest(rest, lines[i+1:])
			}
		}
	}
	for _, line := range slices.Backward(lines) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// withRest is the first line of an error of kind with what is in the lines behind it: the details of a line that ends with a colon, or
// the output of a command, in place of the long command.
func withRest(line string, rest []string) string {
	for i, next := range rest {
		said, ok := strings.CutPrefix(next, "Command Output: ")
		before, _, long := strings.Cut(line, `command "`)
		switch {
		case ok && long:
			for _, more := range rest[i+1:] { // what was printed before it failed comes first
				if !strings.Contains(said, "rror") && strings.Contains(more, "rror") {
					said = more
				}
			}
			return before + said
		case strings.HasSuffix(line, ":") && strings.HasPrefix(next, " "):
			return line + " " + strings.TrimSpace(next)
		}
	}
	return line
}
