package elasticsearch

import (
	"context"
	"os/exec"
	"path/filepath"

	"squall/internal/toolchain"
)

// name is what errors call Elasticsearch.
const name toolchain.Name = "elasticsearch"

// Program is what runs a node in place of an image, after fetching it where it is not there yet. Root is the project's folder. An error
// is a *toolchain.Error.
func Program(ctx context.Context, root string, progress func(toolchain.Update)) (toolchain.Elasticsearch, error) {
	if err := Missing(root); err != nil {
		return toolchain.Elasticsearch{}, err
	}
	java, err := findJava()
	if err != nil {
		return toolchain.Elasticsearch{}, &toolchain.Error{Tool: name, Err: err, Fix: fixOther}
	}
	home, err := Fetch(ctx, root, progress)
	if err != nil {
		return toolchain.Elasticsearch{}, &toolchain.Error{Tool: name, Err: err, Fix: fixOther}
	}
	return toolchain.Elasticsearch{Path: filepath.Join(root, "tools", "elasticsearch", "node"), Home: home, Java: java}, nil
}

const fixOther = "Or run something else in place of its image, by --image elasticsearch/elasticsearch=PROGRAM, or run on a cluster."

// Missing says what this machine lacks to run a node, or to fetch what it runs; nil for nothing. The error is a *toolchain.Error.
func Missing(root string) error {
	_, err := findJava()
	if err == nil {
		err = missing(root)
	}
	if err != nil {
		return &toolchain.Error{Tool: name, Err: err, Fix: fixOther}
	}
	return nil
}

func missing(root string) error {
	p, err := readPin(root)
	if err != nil {
		return err
	}
	home, err := homeOf(p)
	if err != nil || complete(home) {
		return err
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return errNoMaven
	}
	return nil
}
