package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMissingDatabase has no MariaDB: what needs one is told how to get it before anything starts, and what does not is not touched.
func TestMissingDatabase(t *testing.T) {
	atRoot(t)
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	reports := filepath.Join(t.TempDir(), "reports")
	advice := []string{"mariadb is not available", "apt-get install mariadb-server-core mariadb-client-core", "--image mysql=PROGRAM"}
	code, out, errs := squall(t, "run", "bookinfo-mysql", "circuit", "--reports", reports)
	want(t, 3, append(advice, "ERROR        bookinfo-mysql", "PASS         circuit"), code, out, errs)
	if runs, err := os.ReadDir(reports); err != nil || len(runs) != 1 {
		t.Errorf("runs: %v, %v", runs, err)
	}
	code, out, errs = squall(t, "up", "bookinfo-ratings-v2-mysql", "--name", "no-database")
	want(t, 3, advice, code, out, errs)
	code, out, errs = squall(t, "plan", "bookinfo-mysql")
	want(t, 0, nil, code, out, errs)
}
