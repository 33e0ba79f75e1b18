package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"squall/internal/engine"
	"squall/internal/guard"
	"squall/internal/image"
	"squall/internal/mesh"
	"squall/internal/scenario"
)

// Environment variables about clusters: lists of patterns with commas between them.
const (
	allowedVar   = "SQUALL_NAMESPACES"
	protectedVar = "SQUALL_PROTECTED_CONTEXTS"
	testVar      = "SQUALL_TEST_CONTEXTS"
)

// connection says which cluster is meant.
type connection struct{ kubeconfig, context string }

// ownKubeconfig is what is taken without the flag --kubeconfig.
const ownKubeconfig = "without it KUBECONFIG's, or ~/.kube/config"

func (f *connection) add(c *cobra.Command, without string) {
	c.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the cluster; "+without)
	c.Flags().StringVar(&f.context, "context", "", "the kubeconfig's context with that `NAME`; without it the current one")
	complete(c, "context", f.complete)
}

// given says whether a flag says which cluster is meant.
func (f *connection) given() bool { return f.kubeconfig != "" || f.context != "" }

// look finds the cluster; what it cannot find is the caller's mistake.
func (f *connection) look() (mesh.Target, mesh.Access, error) {
	t, access, err := mesh.Look(f.kubeconfig, f.context)
	var unknown *mesh.UnknownContextError
	if errors.As(err, &unknown) {
		if hint := scenario.DidYouMean(unknown.Context, unknown.Known); hint != "" {
			err = fmt.Errorf("%w: %s", err, hint)
		}
	}
	if err != nil {
		return t, nil, invalid(err)
	}
	return t, access, nil
}

func (f *connection) complete(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	_, _, err := mesh.Look(f.kubeconfig, "\x00") // no context has that name: the error lists those that there are
	var unknown *mesh.UnknownContextError
	errors.As(err, &unknown)
	if unknown == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return unknown.Known, cobra.ShellCompDirectiveNoFileComp
}

// clusterFlags are about runs on a cluster that is not Squall's own.
type clusterFlags struct {
	connection
	yes           bool
	clusterScoped bool
	allow         []string
	protect       []string
	ttl           time.Duration
}

func (f *clusterFlags) add(c *cobra.Command) {
	f.connection.add(c, ownKubeconfig)
	fs := c.Flags()
	fs.BoolVarP(&f.yes, "yes", "y", false, "run on a cluster that does not look like a test cluster")
	fs.StringArrayVar(&f.allow, "allow-namespace", nil, "a `PATTERN` of namespaces that runs on a cluster may touch, such as team-*; a protected one by its name alone")
	fs.BoolVar(&f.clusterScoped, "allow-cluster-scoped", false, "allow objects that are in no namespace, and rules for hosts of all namespaces")
	fs.StringArrayVar(&f.protect, "protect-context", nil, "a `PATTERN` of contexts and servers that nothing runs on, also not with --yes")
	fs.DurationVar(&f.ttl, "ttl", 0, "`TIME` after which a run counts as dead, for 'squall rollback --expired' (default its timeout and 10m)")
}

// given says whether a flag is set that means nothing elsewhere than on a cluster.
func (f *clusterFlags) given() string {
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"kubeconfig", f.kubeconfig != ""}, {"context", f.context != ""}, {"yes", f.yes}, {"allow-namespace", len(f.allow) > 0},
		{"allow-cluster-scoped", f.clusterScoped}, {"protect-context", len(f.protect) > 0}, {"ttl", f.ttl != 0},
	} {
		if flag.set {
			return "--" + flag.name
		}
	}
	return ""
}

// policy is what the flags and the variables allow. Flags add to what the variables say.
func (f *clusterFlags) policy() guard.Policy {
	p := guard.Policy{
		Namespaces: append(list(allowedVar), f.allow...), Protected: f.protect, Test: list(testVar), Yes: f.yes, ClusterScoped: f.clusterScoped,
	}
	if _, ok := os.LookupEnv(protectedVar); ok {
		p.Protected = append(list(protectedVar), p.Protected...)
	} else {
		p.Protected = append(guard.ProtectedContexts(), p.Protected...)
	}
	return p
}

// list reads an environment variable.
func list(name string) []string {
	return strings.FieldsFunc(os.Getenv(name), func(r rune) bool { return r == ',' || r == ' ' })
}

// cluster is the one that the flags name, when all plans may run there. Nothing is sent to it.
func (f *clusterFlags) cluster(images pairs, plans []*engine.Compiled) (*engine.Cluster, error) {
	target, access, err := f.look()
	if err != nil {
		return nil, err
	}
	c := &engine.Cluster{Target: target, Access: access, TTL: f.ttl, Images: byName(images)}
	policy := f.policy()
	var errs []error
	for _, k := range plans {
		if f.ttl != 0 && f.ttl < time.Duration(k.Scenario.Spec.Timeout) {
			errs = append(errs, fmt.Errorf("%s: --ttl %s is shorter than the run's timeout of %s", k.Scenario.Metadata.Name, f.ttl, time.Duration(k.Scenario.Spec.Timeout)))
		}
		intent, err := k.Intent(c)
		if err != nil {
			return nil, err
		}
		errs = append(errs, policy.Judge(target, intent), pullable(k, c.Images))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, invalid(err)
	}
	return c, nil
}

// pullable refuses images of Squall's own that no registry has under their names.
func pullable(k *engine.Compiled, mapping map[string]string) error {
	var missing []string
	for _, name := range image.OwnNames() {
		if mapping[name] == "" && k.NeedsImage(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: no registry has the images %s: 'squall image push registry.example.com/team' makes them and pushes them there, "+
		"and prints the --image flags that name them", k.Scenario.Metadata.Name, strings.Join(missing, ", "))
}
