package toolchain

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// The machine that tests run on has MariaDB, whose other programs are in PATH.
func TestFindMySQL(t *testing.T) {
	if _, err := FindMySQL(); err != nil {
		t.Error(err)
	}
	t.Setenv("PATH", t.TempDir())
	var failed *Error
	if _, err := FindMySQL(); !errors.As(err, &failed) || failed.Tool != MySQL || !strings.Contains(failed.Error(), "apt-get install mariadb-server-core") {
		t.Errorf("with an empty PATH: %v", err)
	}
	if f := doctorMySQL(); !f.OK || !strings.Contains(f.Detail, "not there; optional") || !strings.Contains(f.Detail, "--image mysql=PROGRAM") {
		t.Errorf("with an empty PATH: %+v", f)
	}
	full := t.TempDir()
	for _, name := range mysqlPrograms() {
		write(t, full, name, "#!/bin/sh\n", 0o755)
	}
	t.Setenv("PATH", full)
	if server, err := FindMySQL(); err != nil || server != filepath.Join(full, "mariadbd") {
		t.Errorf("%s, %v", server, err)
	}
	if f := doctorMySQL(); !f.OK || f.Detail != filepath.Join(full, "mariadbd") {
		t.Errorf("%+v", f)
	}
}
