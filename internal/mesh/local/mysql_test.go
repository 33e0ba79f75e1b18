package local_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMySQL brings up upstream's database by upstream's manifest, and reads it through both proxies with mutual TLS.
func TestMySQL(t *testing.T) {
	t.Parallel()
	m := up(t, nil)
	const ns = "data"
	m.namespace(t, ns)
	m.apply(t, ns, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}")
	m.apply(t, ns, documents(upstream(t, "bookinfo/platform/kube/bookinfo-mysql.yaml"))...)
	begin := time.Now()
	m.ready(t, ns)
	t.Logf("ready after %v", time.Since(begin))
	pod, err := m.o.Kube.CoreV1().Pods(ns).Get(t.Context(), m.pods(t, ns, "mysqldb")[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address, err := m.CallAddress(m.pods(t, ns, "load-"+ns)[0])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got, err := query(t, "root:password", address)
		if err != nil || got != "1:5 2:4 " {
			return fmt.Errorf("rows %q: %w", got, err)
		}
		return nil
	})
	if got, err := query(t, "root:wrong", address); err == nil || !strings.Contains(err.Error(), "Access denied for user 'root'") {
		t.Errorf("with a wrong password: %q, %v", got, err)
	}
	if got, err := query(t, "root:password", pod.Status.PodIP); err == nil { // the proxy waits for a caller who says hello in TLS
		t.Errorf("without a certificate: %q", got)
	}
	for name, want := range map[string]string{
		m.pods(t, ns, "load-"+ns)[0]: `cluster.outbound|3306||mysqldb.data.svc.cluster.local;.ssl.handshake: `,
		pod.Name:                     `cluster.inbound|3306||;.upstream_cx_total: `,
	} {
		stats, err := m.Admin(t.Context(), name, "GET", "/stats?filter=3306")
		if err != nil || !strings.Contains(string(stats), want) || strings.Contains(string(stats), want+"0\n") {
			t.Errorf("%s does not count %q: %v\n%s", name, want, err, stats)
		}
	}
}

// query reads the ratings in one connection.
func query(t *testing.T, user, host string) (out string, err error) {
	t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("%s@tcp(%s:3306)/test?timeout=1s&readTimeout=1s", user, host))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT ReviewID, Rating FROM ratings ORDER BY ReviewID")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var id, rating int
		if err := rows.Scan(&id, &rating); err != nil {
			return out, err
		}
		out += fmt.Sprintf("%d:%d ", id, rating)
	}
	return out, rows.Err()
}

// upstream is a file below samples of the Istio that istiod is built from.
func upstream(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio")
	cmd.Dir = "../../../tools/istio"
	dir, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
