// Package guard says whether a run may touch a cluster: which contexts and which namespaces it may, and what it would change there. It
// judges what is known before anything is sent.
package guard

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"squall/internal/mesh"
)

// Policy is what somebody allows.
type Policy struct {
	// Namespaces are patterns of those that may be touched; without any, those that a plan names. A protected one has to be named as
	// it is: no pattern allows it.
	Namespaces []string
	// Protected are patterns of contexts, clusters and servers that are never touched, whatever else is allowed.
	Protected []string
	// Test are patterns of contexts of test clusters, beside TestContexts.
	Test []string
	// Yes allows a context that does not look like that of a test cluster.
	Yes bool
	// ClusterScoped allows objects that are in no namespace, and rules for hosts of all namespaces.
	ClusterScoped bool
}

// TestContexts are patterns of the contexts that makers of test clusters write.
func TestContexts() []string {
	return []string{"kind-*", "k3d-*", "minikube", "docker-desktop", "rancher-desktop", "colima*", "orbstack", "microk8s", "kwok-*"}
}

// ProtectedContexts are those that are protected unless somebody says otherwise.
func ProtectedContexts() []string { return []string{"*prod*"} }

// protectedNamespaces are patterns of namespaces that belong to the cluster or the mesh, and not to a test.
func protectedNamespaces() []string {
	return []string{
		"default", "kube-*", "istio-*", "*-system", "argocd", "cert-manager", "flagger", "monitoring", "ingress-nginx",
	}
}

// Touch is one thing that a run does to a cluster.
type Touch struct {
	// Namespace is where it has an effect, "" for the whole cluster.
	Namespace string
	Object    mesh.Ref
	// Why is the step, empty for what the run deploys before it begins.
	Why string
}

// Intent is all that a run would do.
type Intent struct {
	Run        string // what runs, such as the scenario's name
	Namespaces []string
	Touches    []Touch
}

// Reason is why something is refused, and what somebody who wants it all the same can do.
type Reason struct{ What, Fix string }

// RefusedError is a run that the policy does not allow.
type RefusedError struct {
	Target  mesh.Target
	Intent  Intent
	Reasons []Reason
}

// Judge says whether the policy allows it: nil or a *RefusedError with all reasons.
func (p Policy) Judge(t mesh.Target, in Intent) error {
	reasons := append(p.context(t), p.namespaces(in)...)
	if len(reasons) == 0 {
		return nil
	}
	return &RefusedError{Target: t, Intent: in, Reasons: reasons}
}

// context judges which cluster it is.
func (p Policy) context(t mesh.Target) []Reason {
	for _, name := range []string{t.Context, t.Cluster, host(t.Server)} {
		if pattern := matching(p.Protected, name); pattern != "" {
			return []Reason{{
				fmt.Sprintf("%s is protected by the pattern %s", name, pattern), "nothing runs there, also not with --yes: give another --context",
			}}
		}
	}
	if p.Yes || p.IsTest(t) {
		return nil
	}
	return []Reason{{
		fmt.Sprintf("the context %s does not look like that of a test cluster", t.Context),
		fmt.Sprintf("--yes runs there all the same; SQUALL_TEST_CONTEXTS=%s says for good that it is one", t.Context),
	}}
}

// IsTest says whether it looks like a test cluster: by its context, or since its API server is on this machine.
func (p Policy) IsTest(t mesh.Target) bool {
	return matching(slices.Concat(TestContexts(), p.Test), t.Context) != "" || loopback(t.Server)
}

// IsProtected says whether the policy protects the cluster.
func (p Policy) IsProtected(t mesh.Target) bool {
	return slices.ContainsFunc([]string{t.Context, t.Cluster, host(t.Server)}, func(name string) bool { return matching(p.Protected, name) != "" })
}

// namespaces judges each namespace that is touched, once.
func (p Policy) namespaces(in Intent) []Reason {
	var out []Reason
	for _, ns := range in.touched() {
		allow := fmt.Sprintf("--allow-namespace %s allows it", ns)
		switch {
		case ns == "":
			if !p.ClusterScoped {
				out = append(out, Reason{"objects in no namespace, and rules for hosts of all namespaces, are for the whole cluster", "--allow-cluster-scoped allows them"})
			}
		case matching(protectedNamespaces(), ns) != "":
			if !slices.Contains(p.Namespaces, ns) {
				out = append(out, Reason{fmt.Sprintf("the namespace %s is protected", ns), allow})
			}
		case len(p.Namespaces) == 0:
			if !slices.Contains(in.Namespaces, ns) {
				out = append(out, Reason{fmt.Sprintf("the namespace %s is not one of the run's own", ns), allow})
			}
		case matching(p.Namespaces, ns) == "":
			out = append(out, Reason{
				fmt.Sprintf("the namespace %s is none of those that are allowed (%s)", ns, strings.Join(p.Namespaces, ", ")),
				allow + ", --namespace moves the scenario's own",
			})
		}
	}
	return out
}

// touched are the namespaces that it touches, its own first.
func (in Intent) touched() []string {
	out := slices.Clone(in.Namespaces)
	for _, t := range in.Touches {
		if !slices.Contains(out, t.Namespace) {
			out = append(out, t.Namespace)
		}
	}
	return out
}

// what is all that touches a namespace: the objects by kind, each with why.
func (in Intent) what(namespace string) string {
	var kinds []string
	names := map[string][]string{}
	for _, t := range in.Touches {
		if t.Namespace != namespace {
			continue
		}
		text := t.Object.Name
		if t.Object.Namespace != namespace && t.Object.Namespace != "" {
			text = t.Object.Namespace + "/" + text
		}
		if t.Why != "" {
			text += " (" + t.Why + ")"
		}
		kind := t.Object.Kind
		if names[kind] == nil {
			kinds = append(kinds, kind)
		}
		if !slices.Contains(names[kind], text) {
			names[kind] = append(names[kind], text)
		}
	}
	if len(kinds) == 0 {
		return "it is made if it is not there"
	}
	for i, kind := range kinds {
		kinds[i] = kind + " " + strings.Join(names[kind], ", ")
	}
	return strings.Join(kinds, "; ")
}

// Error shows the cluster, what would be changed there, and why it is not.
func (r *RefusedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is refused; nothing was sent\n", r.Intent.Run)
	fmt.Fprintf(&b, "  context  %s (cluster %s)\n  server   %s\n", r.Target.Context, r.Target.Cluster, r.Target.Server)
	for _, ns := range r.Intent.touched() {
		name := ns
		if ns == "" {
			name = "the whole cluster"
		}
		fmt.Fprintf(&b, "  changes  in %s: %s\n", name, r.Intent.what(ns))
	}
	for _, reason := range r.Reasons {
		fmt.Fprintf(&b, "  refused  %s\n           -> %s\n", reason.What, reason.Fix)
	}
	return strings.TrimRight(b.String(), "\n")
}

// matching is the first pattern that the name matches, "" when none does. Case does not count.
func matching(patterns []string, name string) string {
	for _, p := range patterns {
		if name != "" && matches(strings.ToLower(p), strings.ToLower(name)) {
			return p
		}
	}
	return ""
}

// matches says whether a name is that of a pattern, in which * stands for anything, also nothing.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	rest, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, last)
}

// host is the name or address of a server.
func host(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// loopback says whether a server is on this machine.
func loopback(server string) bool {
	h := host(server)
	ip := net.ParseIP(h)
	return h == "localhost" || ip != nil && ip.IsLoopback()
}
