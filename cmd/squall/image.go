package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"squall/internal/image"
	"squall/internal/toolchain"
)

// handed is an image of Squall's own, and where it was handed to.
type handed struct {
	Name string `json:"name"`
	Ref  string `json:"ref"` // what a manifest names
	File string `json:"file,omitempty"`
}

func (a *app) imageCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Make the container images of Squall's own programs, for a cluster", Args: cobra.NoArgs,
		Long: "Make the container images of the load generator and of the fixtures' own programs, without a Docker daemon, and hand them to a\n" +
			"registry or write them as archives. A cluster of 'squall kind' has them already.",
	}
	c.AddCommand(a.imagePushCommand(), a.imageSaveCommand())
	return c
}

func (a *app) imagePushCommand() *cobra.Command {
	var to format
	c := &cobra.Command{
		Use: "push REGISTRY/FOLDER", Short: "Push the images to a registry, and print the flags that name them", Args: cobra.ExactArgs(1),
		Long: "Push the images to a registry that the cluster pulls from, and print the flags of 'squall run' that name them there. Who may push\n" +
			"is read where docker login writes it. What the registry has is not sent again.",
		Example: "  squall run circuit --env cluster $(squall image push registry.example.com/team)",
		RunE: func(c *cobra.Command, args []string) error {
			return a.handImages(c.Context(), to, func(i image.Image) (handed, error) {
				ref, err := i.Push(c.Context(), args[0])
				return handed{Name: i.Name, Ref: ref}, err
			})
		},
	}
	output(c, &to)
	return c
}

func (a *app) imageSaveCommand() *cobra.Command {
	var to format
	c := &cobra.Command{
		Use: "save FOLDER", Short: "Write the images as archives, as docker save does, and print the flags that name them", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o750); err != nil {
				return environment(err)
			}
			return a.handImages(c.Context(), to, func(i image.Image) (handed, error) {
				file := filepath.Join(args[0], strings.ReplaceAll(i.Name, "/", "-")+".tar")
				return handed{Name: i.Name, Ref: i.Ref, File: file}, i.Archive(file)
			})
		},
	}
	output(c, &to)
	return c
}

// handImages builds the images and hands each to somebody.
func (a *app) handImages(ctx context.Context, to format, hand func(image.Image) (handed, error)) error {
	opts, err := a.toolOptions(toolFlags{})
	if err != nil {
		return environment(err)
	}
	opts.Need, opts.Linux = image.OwnTools(), true
	tools, err := toolchain.Ensure(ctx, opts)
	if err != nil {
		return environment(err)
	}
	images, err := image.BuildAll(image.Own(tools))
	if err != nil {
		return environment(err)
	}
	list := make([]handed, 0, len(images))
	for _, i := range images {
		h, err := hand(i)
		if err != nil {
			return environment(err)
		}
		list = append(list, h)
	}
	if to == asJSON {
		return a.printJSON(list)
	}
	for _, h := range list {
		if h.File != "" {
			fmt.Fprintln(a.stderr, "wrote "+h.File)
		}
		if err := a.println("--image " + h.Name + "=" + h.Ref); err != nil {
			return err
		}
	}
	return nil
}
