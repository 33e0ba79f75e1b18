package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"squall/internal/image"
)

// load gives the images to the nodes that lack them.
func (c *cluster) load(ctx context.Context, client kubernetes.Interface) (err error) {
	if len(c.Images) == 0 {
		return nil
	}
	missing, err := c.missing(ctx, client)
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := checkDocker(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "squall-images-")
	if err != nil {
		return fmt.Errorf("archives of images: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args := []string{"load", "image-archive", "--name", c.Name}
	var names []string
	for i, m := range missing {
		file := filepath.Join(dir, fmt.Sprintf("%d.tar", i))
		if err := m.Archive(file); err != nil {
			return err
		}
		args, names = append(args, file), append(names, m.Name)
	}
	activity := "loading images into the nodes (a few seconds): " + strings.Join(names, ", ")
	if err := c.command(ctx, task{activity: activity, log: "load"}, c.Tools.Kind, args...); err != nil {
		return err
	}
	if missing, err = c.missing(ctx, client); err == nil && len(missing) > 0 {
		err = fmt.Errorf("the nodes of %s do not have the image %s after it was loaded", c.Name, missing[0].Ref)
	}
	return err
}

// missing are the images that not all nodes have. The tag is the content's, so that a name is enough.
func (c *cluster) missing(ctx context.Context, client kubernetes.Interface) ([]image.Image, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("look at the nodes: %w", err)
	}
	there := map[string]int{}
	for _, n := range nodes.Items {
		refs, err := nodeImages(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			there[ref]++
		}
	}
	return slices.DeleteFunc(slices.Clone(c.Images), func(i image.Image) bool { return there[i.Ref] == len(nodes.Items) }), nil
}

// nodeImages are the names of the images that a node has. It is asked itself: what the API tells of a node is cut off at 50 images, and
// half a minute late.
func nodeImages(ctx context.Context, node string) ([]string, error) {
	text, err := docker(ctx, "exec", node, "crictl", "images", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct{ Images []struct{ RepoTags []string } }
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("images of the node %s: %w", node, err)
	}
	var out []string
	for _, i := range list.Images {
		out = append(out, i.RepoTags...)
	}
	return out, nil
}
