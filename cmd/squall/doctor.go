package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"squall/internal/kind"
	"squall/internal/mesh/local"
	"squall/internal/toolchain"
)

// examination is what doctor found.
type examination struct {
	Environment environmentName     `json:"environment"` // what 'squall run' takes
	OK          bool                `json:"ok"`
	Findings    []toolchain.Finding `json:"findings"`
	// Kind is what the environment kind needs. It does not count for OK.
	Kind []toolchain.Finding `json:"kind"`
	// Images are the container images that a program stands for on the local mesh, without registry and tag.
	Images []local.Image `json:"images"`
}

func (a *app) doctorCommand() *cobra.Command {
	var f toolFlags
	var images pairs
	var to format
	c := &cobra.Command{
		Use: "doctor", Short: "Say what this machine lacks for a run, and what stands for which image", Args: cobra.NoArgs,
		Long: "Look at what the local environment needs, and change nothing. The exit code is 3 when something that is needed is missing.\n" +
			"What clusters in Docker need is shown too, and is not needed.",
		RunE: func(c *cobra.Command, _ []string) error {
			opts, err := a.toolOptions(f)
			if err != nil {
				return environment(err)
			}
			findings, err := toolchain.Doctor(c.Context(), opts)
			if err != nil {
				return environment(err)
			}
			table, err := local.Images(images)
			if err != nil {
				return invalid(err)
			}
			cluster, tools, err := a.kindOptions(&kindFlags{name: clusterName})
			if err != nil {
				return environment(err)
			}
			x := examination{Environment: envLocal, OK: true, Findings: findings, Kind: kind.Doctor(c.Context(), cluster, tools), Images: table}
			for _, finding := range findings {
				x.OK = x.OK && finding.OK
			}
			if err := a.printExamination(x, to); err != nil {
				return err
			}
			if !x.OK {
				return ended(exitEnvironment)
			}
			return nil
		},
	}
	addImages(c, &images)
	f.add(c)
	output(c, &to)
	return c
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
	fmt.Fprintln(w, "\nfor squall kind\t")
	for _, f := range x.Kind {
		fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Detail)
	}
	fmt.Fprintln(w, "\nimage\tprogram")
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
