package mesh

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Access is how a cluster's API is reached.
type Access = *rest.Config

// Target is the cluster that a context of a kubeconfig leads to.
type Target struct {
	Kubeconfig string `json:"kubeconfig,omitempty"` // its file, or several as KUBECONFIG has them
	Context    string `json:"context"`
	Cluster    string `json:"cluster"`
	Server     string `json:"server"`
}

// ErrNoKubeconfig says that nothing leads to a cluster.
var ErrNoKubeconfig = errors.New("there is no kubeconfig: give --kubeconfig FILE, or set KUBECONFIG; without both it is ~/.kube/config")

// UnknownContextError is a context that a kubeconfig does not have.
type UnknownContextError struct {
	Context, Kubeconfig string
	Known               []string // those that it has
}

// Error names the context.
func (e *UnknownContextError) Error() string {
	if e.Context == "" {
		return e.Kubeconfig + " has no current context: give --context"
	}
	return fmt.Sprintf("%s has no context %q", e.Kubeconfig, e.Context)
}

// Connect reads a kubeconfig, a file or several as KUBECONFIG has them, empty for the user's own, and takes the context, empty for its current one. Nothing is sent yet.
func Connect(kubeconfig, context string) (Access, error) {
	_, access, err := Look(kubeconfig, context)
	return access, err
}

// Look is Connect, and says which cluster it is. In a pod without a kubeconfig it is the cluster of the pod.
func Look(kubeconfig, context string) (Target, Access, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if files := filepath.SplitList(kubeconfig); len(files) > 1 {
		rules.Precedence = files
	} else {
		rules.ExplicitPath = kubeconfig
	}
	t := Target{Kubeconfig: absolute(rules.GetLoadingPrecedence()), Context: context}
	file := "kubeconfig " + t.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	raw, err := loader.RawConfig()
	switch {
	case kubeconfig != "" && errors.Is(err, fs.ErrNotExist):
		return t, nil, fmt.Errorf("%s: there is no such file", file)
	case err != nil:
		return t, nil, fmt.Errorf("%s: %w", file, err)
	}
	if t.Context == "" {
		t.Context = raw.CurrentContext
	}
	c := raw.Contexts[t.Context]
	if c == nil && len(raw.Contexts) > 0 {
		return t, nil, &UnknownContextError{Context: t.Context, Kubeconfig: file, Known: slices.Sorted(maps.Keys(raw.Contexts))}
	}
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) || c == nil && context != "" {
		return t, nil, ErrNoKubeconfig
	}
	if err != nil {
		return t, nil, fmt.Errorf("%s: %w", file, err)
	}
	config.QPS, config.Burst = -1, 0 // the API server has its own fairness
	t.Server = config.Host
	if t.Cluster = "of this pod"; c != nil {
		t.Cluster = c.Cluster
	}
	return t, config, nil
}

// absolute is a list of files as KUBECONFIG has it, that leads to them from every folder.
func absolute(files []string) string {
	var out []string
	for _, f := range files {
		if whole, err := filepath.Abs(f); err == nil {
			f = whole
		}
		out = append(out, f)
	}
	return strings.Join(out, string(filepath.ListSeparator))
}

// ImageTag is the tag of an image, "" when it has none. Its registry may have a port.
func ImageTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	_, tag, _ := strings.Cut(ref[strings.LastIndexByte(ref, '/')+1:], ":")
	return tag
}
