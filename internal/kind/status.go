package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"squall/internal/image"
	"squall/internal/toolchain"
)

// Condition is what there is of a cluster.
type Condition string

// The conditions.
const (
	Absent  Condition = "absent"    // nothing is there
	Ready   Condition = "ready"     // Ensure has nothing to do, but for images
	Stopped Condition = "stopped"   // Ensure starts it again
	Partial Condition = "half made" // Ensure makes it whole, or anew
)

// Status is what there is of a cluster, and what Squall knows about it.
type Status struct {
	Name       string      `json:"name"`
	Condition  Condition   `json:"condition"`
	Why        string      `json:"why,omitempty"` // it is not ready
	Nodes      []container `json:"nodes"`
	Foreign    bool        `json:"foreign"` // somebody else made it
	Kubeconfig string      `json:"kubeconfig,omitempty"`
	Context    string      `json:"context,omitempty"`
	Kubernetes string      `json:"kubernetes,omitempty"`
	Istio      string      `json:"istio,omitempty"`
}

// Look says what there is, and changes nothing. It needs no tools but docker.
func Look(ctx context.Context, o Options) (Status, error) {
	c, err := newCluster(o)
	if err != nil {
		return Status{}, err
	}
	wanted, err := c.wantedIstio()
	if err != nil {
		return Status{}, err
	}
	if err := checkDocker(ctx); err != nil {
		return Status{}, err
	}
	st, err := c.readState()
	if err != nil {
		return Status{}, err
	}
	nodes, err := containers(ctx, c.Name)
	if err != nil {
		return Status{}, err
	}
	s := Status{Name: c.Name, Nodes: nodes, Foreign: len(nodes) > 0 && st.Phase != made && st.Phase != making}
	client, whole := c.whole(ctx, wanted)
	switch {
	case len(nodes) == 0:
		s.Condition = Absent
	case st.Phase == making:
		s.Condition, s.Why = Partial, "what made it was broken off"
	case whole == nil:
		s.Condition = Ready
	case slices.ContainsFunc(nodes, func(n container) bool { return !n.Running }):
		s.Condition, s.Why = Stopped, "a node does not run"
	default:
		s.Condition, s.Why = Partial, whole.Error()
	}
	if s.Condition != Ready {
		return s, nil
	}
	d, err := c.describe(ctx, client)
	s.Kubeconfig, s.Context, s.Kubernetes, s.Istio = d.Kubeconfig, d.Context, d.Kubernetes, d.Istio
	return s, err
}

// ToolNames are the programs that Ensure needs on this machine.
func ToolNames() []toolchain.Name { return []toolchain.Name{toolchain.Kind, toolchain.Istioctl} }

// Prepare builds what Ensure needs, unless it is there: kind and istioctl into Tools, and the project's own images into Images.
func (o *Options) Prepare(ctx context.Context, from toolchain.Options) error {
	from.Need = ToolNames()
	tools, err := toolchain.Ensure(ctx, from)
	if err != nil {
		return err
	}
	from.Need, from.Linux = image.OwnTools(), true
	programs, err := toolchain.Ensure(ctx, from)
	if err != nil {
		return err
	}
	images, err := image.BuildAll(image.Own(programs))
	if err != nil {
		return err
	}
	o.Tools, o.Images = tools, images
	return nil
}

// Doctor looks at what clusters in Docker need, and changes nothing. All findings are OK: nothing but the environment kind needs any
// of it. What is not there is "not available: …".
func Doctor(ctx context.Context, o Options, from toolchain.Options) []toolchain.Finding {
	finding := func(name, detail string, err error) toolchain.Finding {
		if err != nil {
			detail = "not available: " + oneLine(err)
		}
		return toolchain.Finding{Name: name, OK: true, Detail: detail}
	}
	version, err := dockerVersion(ctx)
	out := []toolchain.Finding{finding("docker", version, err)}
	for _, name := range ToolNames() {
		detail, err := toolchain.Find(ctx, name, from)
		out = append(out, finding(string(name), detail, err))
	}
	if err != nil {
		return append(out, finding("cluster "+o.Name, "", errors.New("Docker has to be asked"))) //nolint:staticcheck // a name
	}
	s, err := Look(ctx, o)
	detail := string(s.Condition)
	switch {
	case err != nil:
	case s.Condition == Ready:
		detail += fmt.Sprintf(": Kubernetes %s, Istio %s, %s", s.Kubernetes, s.Istio, s.Kubeconfig)
	case s.Condition == Absent:
		detail += ": made when first needed, in about a minute, and with pulls of about 600 MB"
	default:
		detail += ": " + s.Why
	}
	return append(out, finding("cluster "+o.Name, detail, err))
}

// oneLine is an error on one line, with what to do about it.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), " -> ")
}
