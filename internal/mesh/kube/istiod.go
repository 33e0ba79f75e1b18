package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"squall/internal/mesh"
)

// Debug asks istiod. Where there are several, each is asked, as each has proxies of its own: lists are joined, but of its
// configuration there is only what all of them have in the same version.
func (m *Mesh) Debug(ctx context.Context, path string) ([]byte, error) {
	list, err := m.objects.Kube.CoreV1().Pods(mesh.RootNamespace).List(ctx, metav1.ListOptions{LabelSelector: istiodSelector})
	if err != nil {
		return nil, fmt.Errorf("pods of istiod: %w", err)
	}
	var answers [][]byte
	for i := range list.Items {
		p := &list.Items[i]
		if p.DeletionTimestamp != nil || !mesh.IsReady(p) {
			continue
		}
		body, err := m.ask(ctx, key{p.Namespace, p.Name}, debugPort, http.MethodGet, path)
		if err != nil {
			return nil, err
		}
		answers = append(answers, body)
	}
	if len(answers) == 0 {
		return nil, fmt.Errorf("no pod of istiod is ready in %s", mesh.RootNamespace)
	}
	return combined(path, answers)
}

// combined is the answer of several istiods in one.
func combined(path string, answers [][]byte) ([]byte, error) {
	if len(answers) == 1 {
		return answers[0], nil
	}
	lists := make([][]json.RawMessage, len(answers))
	for i, a := range answers {
		if err := json.Unmarshal(a, &lists[i]); err != nil {
			return nil, fmt.Errorf("istiod's %s is no list: %w", path, err)
		}
	}
	if strings.HasPrefix(path, "/debug/configz") {
		return common(lists)
	}
	return json.Marshal(slices.Concat(lists...))
}

// common are the objects that all lists have in the same version.
func common(lists [][]json.RawMessage) ([]byte, error) {
	type object struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name            string `json:"name"`
			Namespace       string `json:"namespace"`
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	seen := map[object]int{}
	out := []json.RawMessage{}
	for i, list := range lists {
		for _, raw := range list {
			var o object
			if err := json.Unmarshal(raw, &o); err != nil {
				return nil, fmt.Errorf("istiod's configuration: %w", err)
			}
			if seen[o]++; i == len(lists)-1 && seen[o] == len(lists) {
				out = append(out, raw)
			}
		}
	}
	return json.Marshal(out)
}
