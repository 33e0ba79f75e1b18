package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"squall/internal/kind"
	"squall/internal/toolchain"
)

// clusterName is the cluster that 'squall kind' works at unless it is told another.
const clusterName = "squall"

// kindFlags are the flags of the commands of kind.
type kindFlags struct {
	name, config, patch, nodeImage, istioValues string
	force                                       bool
	output                                      format
}

func (a *app) kindCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "kind", Short: "Make and remove a Kubernetes cluster in Docker, with Istio", Args: cobra.NoArgs,
		Long: "Make, show and remove the cluster of the environment kind: Kubernetes in Docker, with Istio and Squall's images. It takes\n" +
			"Docker; kind and istioctl are built when first needed. docs/kind.md says more.",
	}
	c.AddCommand(a.kindUpCommand(), a.kindDownCommand(), a.kindStatusCommand())
	return c
}

func (a *app) kindUpCommand() *cobra.Command {
	f := &kindFlags{}
	c := &cobra.Command{
		Use: "up", Short: "Make the cluster ready", Args: cobra.NoArgs,
		Long: "Make the cluster ready, whatever is there: nothing, a cluster that is, one that was stopped, or one that was left half made.\n" +
			"The kubeconfig is a file of Squall's own. What the flags say about a new cluster, these variables say too:\n" +
			"SQUALL_KIND_CONFIG, KIND_NODE_IMAGE and SQUALL_ISTIO_VALUES.",
		Example: "  squall kind up\n  export KUBECONFIG=$(squall kind up -o json | jq -r .kubeconfig)",
		RunE: func(c *cobra.Command, _ []string) error {
			begin := time.Now()
			cluster, err := a.ensureKind(c.Context(), f)
			if err != nil {
				return environment(err)
			}
			fmt.Fprintf(a.stderr, "cluster %s is ready after %.1f s\n", cluster.Name, time.Since(begin).Seconds())
			return a.printCluster(cluster, f.output)
		},
	}
	f.add(c)
	fs := c.Flags()
	fs.StringVar(&f.config, "config", "", "kind's configuration of a new cluster, a `FILE` (default kind-config.yaml of the project)")
	fs.StringVar(&f.patch, "config-patch", "", "`FILE` that is merged into the configuration")
	fs.StringVar(&f.nodeImage, "node-image", "", "`IMAGE` of a new cluster's nodes")
	fs.StringVar(&f.istioValues, "istio-values", "", "`FILE` for istioctl install -f, behind Squall's own")
	return c
}

func (a *app) kindDownCommand() *cobra.Command {
	f := &kindFlags{}
	c := &cobra.Command{
		Use: "down", Short: "Remove the cluster", Args: cobra.NoArgs,
		Long: "Remove the cluster with all that is on it, and its kubeconfig. What is not there is no error. A cluster that Squall has not made\n" +
			"stays, unless --force is given.",
		RunE: func(c *cobra.Command, _ []string) error {
			opts, tools, err := a.kindOptions(f)
			if err == nil {
				tools.Need = []toolchain.Name{toolchain.Kind}
				opts.Tools, err = toolchain.Ensure(c.Context(), tools)
			}
			if err == nil {
				err = kind.Delete(c.Context(), opts, f.force)
			}
			if err != nil {
				return environment(err)
			}
			if f.output == asJSON {
				return a.printJSON(map[string]string{"removed": opts.Name})
			}
			return a.println("cluster " + opts.Name + " is gone")
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.force, "force", false, "remove also a cluster that Squall has not made")
	return c
}

func (a *app) kindStatusCommand() *cobra.Command {
	f := &kindFlags{}
	c := &cobra.Command{
		Use: "status", Short: "Say what there is of the cluster", Args: cobra.NoArgs,
		Long: "Say what there is of the cluster, and change nothing. The exit code is 3 unless it is ready.",
		RunE: func(c *cobra.Command, _ []string) error {
			opts, _, err := a.kindOptions(f)
			if err != nil {
				return environment(err)
			}
			s, err := kind.Look(c.Context(), opts)
			if err != nil {
				return environment(err)
			}
			if err := a.printStatus(s, f.output); err != nil {
				return err
			}
			if s.Condition != kind.Ready {
				return ended(exitEnvironment)
			}
			return nil
		},
	}
	f.add(c)
	return c
}

func (f *kindFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.name, "name", clusterName, "`NAME` of the cluster")
	output(c, &f.output)
}

// kindOptions are what the flags, and the environment behind them, say.
func (a *app) kindOptions(f *kindFlags) (kind.Options, toolchain.Options, error) {
	tools, err := a.toolOptions(toolFlags{})
	if err != nil {
		return kind.Options{}, tools, err
	}
	dir, err := kindDir()
	if err != nil {
		return kind.Options{}, tools, err
	}
	opts := kind.Options{
		Name: f.name, Dir: dir, Config: filepath.Join(tools.Root, "kind-config.yaml"), Progress: tools.Progress,
	}
	opts.FromEnvironment(os.Getenv)
	for _, flag := range []struct {
		value string
		to    *string
	}{{f.config, &opts.Config}, {f.patch, &opts.Patch}, {f.nodeImage, &opts.NodeImage}, {f.istioValues, &opts.IstioValues}} {
		if flag.value != "" {
			*flag.to = flag.value
		}
	}
	return opts, tools, nil
}

// ensureKind makes the cluster ready, with all that this takes.
func (a *app) ensureKind(ctx context.Context, f *kindFlags) (kind.Cluster, error) {
	opts, tools, err := a.kindOptions(f)
	if err == nil {
		err = opts.Prepare(ctx, tools)
	}
	if err != nil {
		return kind.Cluster{}, err
	}
	return kind.Ensure(ctx, opts)
}

// kindDir is the folder of what Squall knows of its clusters.
func kindDir() (string, error) {
	dir, err := stateDir()
	return filepath.Join(dir, "kind"), err
}

// kindKubeconfig is the file of the cluster that runs use.
func kindKubeconfig() (string, error) {
	dir, err := kindDir()
	if err != nil {
		return "", err
	}
	file := kind.Options{Name: clusterName, Dir: dir}.Kubeconfig()
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("the cluster of 'squall kind' is not there: give --kubeconfig: %w", err)
	}
	return file, nil
}

// printCluster says how to use a cluster.
func (a *app) printCluster(c kind.Cluster, to format) error {
	if to == asJSON {
		return a.printJSON(c)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s is ready: Kubernetes %s, Istio %s\n\n", c.Name, c.Kubernetes, c.Istio)
	fmt.Fprintf(&b, "  export KUBECONFIG=%s\n", c.Kubeconfig)
	fmt.Fprintf(&b, "  kubectl get pods -A\n")
	if c.Foreign {
		fmt.Fprintf(&b, "\nSquall has not made it, and 'squall kind down' leaves it there\n")
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// printStatus says what there is of a cluster.
func (a *app) printStatus(s kind.Status, to format) error {
	if to == asJSON {
		return a.printJSON(s)
	}
	text := fmt.Sprintf("cluster %s is %s", s.Name, s.Condition)
	switch {
	case s.Condition == kind.Ready:
		text += fmt.Sprintf(": Kubernetes %s, Istio %s\n\n  export KUBECONFIG=%s", s.Kubernetes, s.Istio, s.Kubeconfig)
	case s.Why != "":
		text += ": " + s.Why
	}
	return a.println(text)
}
