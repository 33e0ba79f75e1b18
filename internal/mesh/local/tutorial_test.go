package local_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"squall/internal/mesh/local"
)

// TestManifestsOfTutorials runs manifests that were written for clusters as they are: upstream's Bookinfo, and the httpbin and the
// load generator of tutorials.
func TestManifestsOfTutorials(t *testing.T) {
	t.Parallel()
	f, err := local.ReadFacts(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := up(t, nil)
	const ns = "tutorial"
	m.namespace(t, ns)
	manifests := []string{upstream(t, "bookinfo/platform/kube/bookinfo.yaml"), read(t, "testdata/tutorial/fortio-deploy.yaml")}
	if f.FirstPort <= 80 { // else the local mesh refuses port 80, as it says
		manifests = append(manifests, read(t, "testdata/tutorial/httpbin.yaml"))
	}
	for _, text := range manifests {
		for _, p := range local.Check(decode(t, text), f) {
			t.Errorf("object %d: %s: %s (%s)", p.Index, p.Path, p.What, p.Hint)
		}
		m.apply(t, ns, documents(text)...)
	}
	m.ready(t, ns)
	if f.FirstPort <= 80 {
		m.answers(t, ns, "httpbin", "/get", http.StatusOK)
	}
	address, err := m.CallAddress(m.pods(t, ns, "load-"+ns)[0])
	if err != nil {
		t.Fatal(err)
	}
	for host, path := range map[string]string{"productpage:9080": "/productpage", "fortio:8080": "/fortio/"} {
		_, port, _ := strings.Cut(host, ":")
		eventually(t, func() error {
			if code, body := get(t, "http://"+address+":"+port+path, host); code != http.StatusOK {
				return fmt.Errorf("%s answers %d: %s", host, code, body)
			}
			return nil
		})
	}
	if _, page := get(t, "http://"+address+":9080/productpage", "productpage:9080"); strings.Contains(page, "Error fetching") || !strings.Contains(page, "Comedy of Errors") {
		t.Errorf("the page is not whole:\n%s", page)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents splits a file of manifests.
func documents(text string) []string {
	return strings.Split(strings.TrimSuffix(strings.TrimSpace(text), "\n---"), "\n---\n")
}
