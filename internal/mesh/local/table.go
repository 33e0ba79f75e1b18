package local

import (
	"slices"
	"strings"

	"squall/internal/toolchain"
)

// Image is an entry of the table from container images to programs.
type Image struct {
	Name string `json:"name"` // without registry and tag
	// Program is the program and its arguments. $(POD_IP) and $(PORT_n), what stands for container port n, are expanded.
	Program string `json:"program"`
}

// Images is the table from images to programs with the user's own entries in it, by name.
func Images(extra map[string]string) ([]Image, error) {
	table := images(toolchain.Tools{HTTPBin: string(toolchain.HTTPBin), Fortio: string(toolchain.Fortio), Bookinfo: string(toolchain.Bookinfo), Issuer: string(toolchain.Issuer), ESFlowControl: string(toolchain.ESFlowControl), MySQL: "tools/mariadb/mysqld", Elasticsearch: toolchain.Elasticsearch{Path: "tools/elasticsearch/node"}})
	if err := addImages(table, extra); err != nil {
		return nil, err
	}
	var out []Image
	for _, name := range sortedKeys(table) {
		p := table[name]
		line := "squall itself, as the load generator"
		if !p.Builtin {
			line = strings.TrimSpace(strings.Join(slices.Concat(variables(p.Env), []string{p.Path}, p.Command, p.Listen), " "))
		}
		out = append(out, Image{Name: name, Program: line})
	}
	return out, nil
}

func variables(env map[string]string) []string {
	var out []string
	for _, name := range sortedKeys(env) {
		if env[name] != "" { // of this machine
			out = append(out, name+"="+env[name])
		}
	}
	return out
}
