package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"squall/internal/guard"
	"squall/internal/kind"
	"squall/internal/mesh"
	"squall/internal/mesh/kube"
	"squall/internal/mesh/local"
	"squall/internal/toolchain"
)

// examination is what doctor found.
type examination struct {
	Environment environmentName     `json:"environment"` // what 'squall run' takes
	OK          bool                `json:"ok"`
	Findings    []toolchain.Finding `json:"findings"`
	// Kind is what the environment kind needs. It does not count for OK.
	Kind []toolchain.Finding `json:"kind,omitempty"`
	// Images are the container images that a program stands for on the local mesh, without registry and tag.
	Images []local.Image `json:"images,omitempty"`
}

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	toolFlags
	clusterFlags
	env       environmentName
	namespace string
	images    pairs
	output    format
}

func (a *app) doctorCommand() *cobra.Command {
	f := &doctorFlags{env: envLocal}
	c := &cobra.Command{
		Use: "doctor", Short: "Say what this machine, or a cluster, lacks for a run, and what stands for which image", Args: cobra.NoArgs,
		Long: "Look at what an environment needs, and change nothing. The exit code is 3 when something that is needed is missing. For the\n" +
			"local one what clusters in Docker need is shown too, and is not needed. Of a cluster it is looked whether a run in the namespace\n" +
			"is allowed there, which permissions this user lacks, and whether Istio is there.",
		Example: "  squall doctor\n  squall doctor --env cluster --context staging --namespace squall",
		RunE: func(c *cobra.Command, _ []string) error {
			if flag := f.clusterFlags.given(); flag != "" && f.env != envCluster {
				return invalid(fmt.Errorf("%s is for --env %s alone", flag, envCluster))
			}
			x, err := a.examine(c.Context(), f)
			if err != nil {
				return err
			}
			x.OK = !slices.ContainsFunc(x.Findings, func(f toolchain.Finding) bool { return !f.OK })
			if err := a.printExamination(x, f.output); err != nil {
				return err
			}
			if !x.OK {
				return ended(exitEnvironment)
			}
			return nil
		},
	}
	fs := c.Flags()
	fs.Var(&f.env, "env", "the environment to look at: local, kind or cluster")
	fs.StringVar(&f.namespace, "namespace", "squall", "`NAMESPACE` of a cluster that runs would be in")
	complete(c, "env", completeEnvironment)
	addImages(c, &f.images)
	f.toolFlags.add(c)
	f.connection.add(c, ownKubeconfig)
	output(c, &f.output)
	return c
}

func (a *app) examine(ctx context.Context, f *doctorFlags) (examination, error) {
	if f.env != envLocal {
		return examineCluster(ctx, f)
	}
	opts, err := a.toolOptions(f.toolFlags)
	if err != nil {
		return examination{}, environment(err)
	}
	findings, err := toolchain.Doctor(ctx, opts)
	if err != nil {
		return examination{}, environment(err)
	}
	table, err := local.Images(f.images)
	if err != nil {
		return examination{}, invalid(err)
	}
	cluster, tools, err := a.kindOptions(&kindFlags{name: clusterName})
	if err != nil {
		return examination{}, environment(err)
	}
	return examination{Environment: envLocal, Findings: findings, Kind: kind.Doctor(ctx, cluster, tools), Images: table}, nil
}

// examineCluster looks at a cluster, and changes nothing there.
func examineCluster(ctx context.Context, f *doctorFlags) (examination, error) {
	x := examination{Environment: f.env}
	where := f.connection
	var err error
	if f.env == envKind {
		if where.kubeconfig, err = kindKubeconfig(); err != nil {
			return x, invalid(err)
		}
	}
	target, access, err := where.look()
	if err != nil {
		return x, err
	}
	env, err := kube.New(kube.Options{Name: string(f.env), Config: access, Namespaces: []string{f.namespace}})
	if err != nil {
		return x, environment(err)
	}
	if f.env == envCluster {
		x.Findings = append(x.Findings, allowed(f.policy(), target, f.namespace))
	}
	for _, found := range env.Examine(ctx) {
		finding := toolchain.Finding{Name: found.Name, OK: found.Err == nil, Detail: found.Detail}
		if found.Err != nil {
			finding.Detail = found.Err.Error()
		}
		x.Findings = append(x.Findings, finding)
	}
	if err := env.Down(ctx); err != nil {
		return x, environment(err)
	}
	return x, nil
}

// allowed says what the guards say of runs on the cluster.
func allowed(p guard.Policy, t mesh.Target, namespace string) toolchain.Finding {
	f := toolchain.Finding{Name: "context " + t.Context, OK: true, Detail: "looks like a test cluster"}
	if !p.IsTest(t) {
		f.Detail = "does not look like a test cluster: runs need --yes"
	}
	p.Yes = true
	var refusal *guard.Refusal
	if errors.As(p.Judge(t, guard.Intent{Run: "a run", Namespaces: []string{namespace}}), &refusal) {
		f.OK, f.Detail, f.Fix = false, refusal.Reasons[0].What, refusal.Reasons[0].Fix
	}
	return f
}

func (a *app) printExamination(x examination, to format) error {
	if to == asJSON {
		return a.printJSON(x)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	missing := 0
	for _, f := range x.Findings {
		mark := "ok"
		if !f.OK {
			mark = "MISSING"
			missing++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", mark, f.Name, f.Detail)
		if f.Fix != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", f.Fix)
		}
	}
	if len(x.Kind) > 0 {
		fmt.Fprintln(w, "\nfor squall kind\t")
	}
	for _, f := range x.Kind {
		fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Detail)
	}
	if len(x.Images) > 0 {
		fmt.Fprintln(w, "\nimage\tprogram")
	}
	for _, i := range x.Images {
		fmt.Fprintf(w, "%s\t%s\n", i.Name, i.Program)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if missing > 0 {
		return a.println(fmt.Sprintf("\n%d things are missing for the environment %s", missing, x.Environment))
	}
	return a.println(fmt.Sprintf("\nready for the environment %s", x.Environment))
}
