package local

import (
	"slices"

	"squall/internal/toolchain"
)

// Available says which programs that stand for the objects' images this machine would have to bring and does not: *toolchain.Error
// values, joined. The others are brought by toolchain.Ensure, or are the user's own, which ReadFacts looks at. objects are as
// decoded from their manifests; extra are the user's own NAME=PROGRAM images.
func Available(objects []map[string]any, extra map[string]string) error {
	const database = "squall: a database"
	table := images(toolchain.Tools{MySQL: database})
	if err := addImages(table, extra); err != nil {
		return err
	}
	if runs(objects, table, database) {
		_, err := toolchain.FindMySQL()
		return err
	}
	return nil
}

// RunsElasticsearch reports whether one of the objects' images stands for a node of Elasticsearch, which is Tools.Elasticsearch then.
func RunsElasticsearch(objects []map[string]any, extra map[string]string) bool {
	const node = "squall: a node"
	table := images(toolchain.Tools{Elasticsearch: toolchain.Elasticsearch{Path: node}})
	return addImages(table, extra) == nil && runs(objects, table, node)
}

// runs reports whether a program stands for one of the objects' images.
func runs(objects []map[string]any, table map[string]program, path string) bool {
	return slices.ContainsFunc(objects, func(o map[string]any) bool {
		return slices.ContainsFunc(containerImages(o), func(image string) bool { return table[imageName(image)].Path == path })
	})
}

// containerImages are the images of a Deployment's containers.
func containerImages(o map[string]any) []string {
	if o["kind"] != "Deployment" {
		return nil
	}
	at := any(o)
	for _, name := range []string{"spec", "template", "spec", "containers"} {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	list, _ := at.([]any)
	var out []string
	for _, c := range list {
		m, _ := c.(map[string]any)
		image, _ := m["image"].(string)
		out = append(out, image)
	}
	return out
}
