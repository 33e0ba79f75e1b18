package toolchain

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// MySQL is what stands for MySQL's and MariaDB's images. It is not built: it comes from the machine's own packages.
const MySQL Name = "mariadb"

const fixMySQL = "install MariaDB's server (on Debian: apt-get install mariadb-server-core mariadb-client-core), or give --image mysql=PROGRAM."

// sbin are folders of servers that an ordinary user's PATH often lacks. tools/mariadb/mysqld looks there too.
func sbin() []string { return []string{"/usr/sbin", "/usr/local/sbin"} }

// mysqlPrograms are what tools/mariadb/mysqld runs, the server first; mariadb-install-db runs the last.
func mysqlPrograms() []string { return []string{"mariadbd", "mariadb-install-db", "my_print_defaults"} }

// FindMySQL looks for the programs that stand for MySQL and returns the server's path. Its error is an *Error.
func FindMySQL() (server string, err error) {
	for i, name := range mysqlPrograms() {
		path, err := findServer(name)
		if err != nil {
			return "", &Error{MySQL, fixMySQL, err}
		}
		if i == 0 {
			server = path
		}
	}
	return server, nil
}

// findServer looks for a program in PATH and in sbin.
func findServer(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range sbin() {
		if err == nil {
			return path, nil
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		return "", fmt.Errorf("%s is not in PATH", name)
	}
	return path, nil
}

// doctorMySQL looks for what a mesh with a database needs. Others work without.
func doctorMySQL() Finding {
	f := Finding{Name: string(MySQL), OK: true}
	server, err := FindMySQL()
	if err != nil {
		f.Detail = "not there; optional, for images of MySQL and MariaDB: " + fixMySQL
		return f
	}
	f.Detail = server
	return f
}
