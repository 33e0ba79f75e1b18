package kube

import (
	"slices"
	"strings"

	"squall/internal/mesh"
)

// grouped names permissions, the verbs of one resource together.
func grouped(list []Permission) []string {
	var keys []Permission
	verbs := map[Permission][]string{}
	for _, p := range list {
		key := p
		key.Verb = ""
		if verbs[key] == nil {
			keys = append(keys, key)
		}
		verbs[key] = append(verbs[key], p.Verb)
	}
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = strings.Join(verbs[key], ", ") + key.String()
	}
	return out
}

// Unseen are those of the resources, by their plural names, of which runs make or change objects.
func Unseen(resources []string) []string {
	m := &Mesh{opts: Options{Namespaces: []string{"any", mesh.RootNamespace}}}
	made := []string{"namespaces"}
	for _, p := range m.Permissions() {
		if p.Verb == "patch" {
			made = append(made, p.Resource)
		}
	}
	return slices.DeleteFunc(slices.Clone(resources), func(r string) bool { return !slices.Contains(made, r) })
}
