// Package kind makes a Kubernetes cluster in Docker with Istio on it, by the programs kind and istioctl, and hands it images.
//
// Ensure leads to a cluster that is ready, whatever is there: nothing, a cluster that is, one that was stopped, or one that was left
// half made by a run that was killed. Its state is in four places, and each says what it can: the state file, written before a
// cluster is made and after, that the making came to its end; the API, that the nodes and istiod are ready; Docker, since when the
// nodes run, which tells whether the API means today; and an annotation of the namespace istio-system, which Istio was installed to
// the end. A cluster that somebody else made under the name is used when it is whole, and never deleted.
//
// The kubeconfig is a file of Squall's own. The user's is neither read nor written.
package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"

	"squall/internal/image"
	"squall/internal/toolchain"
)

const (
	askWithin   = 3 * time.Second // for a look at the API of a cluster that is taken to be there
	startWithin = time.Minute     // for the API of a cluster that was stopped, or that somebody else made
	readyWithin = 5 * time.Minute // for the nodes of a new cluster
	// A removal is over when this many looks in a row have found nothing.
	removeLooks  = 3
	removePoll   = time.Second / 2
	removeWithin = time.Minute
	istioWithin  = 10 * time.Minute // for istioctl, which pulls istiod's image
)

// Options says which cluster. The zero value of each field but Name, Dir and Config has a meaning.
type Options struct {
	Name string // of the cluster: lower-case letters, digits, dots and dashes
	Dir  string // where the kubeconfig, the state and the logs are kept

	Config string // kind's configuration of a new cluster: a file
	Patch  string // a file that is merged into Config (RFC 7386); none when empty
	// NodeImage is the image of a new cluster's nodes; empty is the one of the pinned kind.
	NodeImage string
	// IstioValues is a file for istioctl install -f, behind Squall's own; none when empty.
	IstioValues string

	Tools  toolchain.Tools // Kind and Istioctl, as Tools gives them
	Images []image.Image   // to be loaded into the nodes

	// Progress is told what is going on, about once a second; never when all is there. Calls do not overlap.
	Progress func(toolchain.Update)
}

// FromEnvironment sets the fields that environment variables name: KIND_NODE_IMAGE, SQUALL_KIND_CONFIG (Patch) and
// SQUALL_ISTIO_VALUES.
func (o *Options) FromEnvironment(getenv func(string) string) {
	for name, field := range map[string]*string{
		"KIND_NODE_IMAGE": &o.NodeImage, "SQUALL_KIND_CONFIG": &o.Patch, "SQUALL_ISTIO_VALUES": &o.IstioValues,
	} {
		if v := getenv(name); v != "" {
			*field = v
		}
	}
}

// Cluster is a cluster that is ready.
type Cluster struct {
	Name       string            `json:"name"`
	Kubeconfig string            `json:"kubeconfig"` // a file, mode 0600
	Context    string            `json:"context"`    // in the kubeconfig
	Kubernetes string            `json:"kubernetes"` // "v1.34.3"
	Istio      string            `json:"istio"`      // the version of the image of istiod, "1.31.1"
	Images     map[string]string `json:"images"`     // what manifests have to name, by image.Name: for image.Resolve
	// Made says that this call made the cluster.
	Made bool `json:"made"`
	// Foreign says that somebody else made the cluster, so that Delete leaves it there.
	Foreign bool `json:"foreign"`
}

// Error is a cluster that could not be made ready.
type Error struct {
	What string // was being done
	Fix  string // what to do about it
	Err  error
}

// Error says what failed, why, and what to do.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v\n%s", e.What, e.Err, e.Fix) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// cluster is one cluster at work.
type cluster struct {
	Options
	made bool
}

// newCluster checks the options, as far as that takes nothing but reading.
func newCluster(o Options) (*cluster, error) {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,48}$`).MatchString(o.Name) {
		return nil, &Error{fmt.Sprintf("name the cluster %q", o.Name), "use up to 49 lower-case letters, digits, dots and dashes.",
			errors.New("kind does not take that name")}
	}
	if o.Progress == nil {
		o.Progress = func(toolchain.Update) {}
	}
	return &cluster{Options: o}, nil
}

// Kubeconfig is the file of the cluster's kubeconfig.
func (o Options) Kubeconfig() string { return filepath.Join(o.Dir, o.Name+".kubeconfig") }

// context is the name that kind gives the cluster in a kubeconfig.
func (c *cluster) context() string { return "kind-" + c.Name }

// Ensure makes the cluster ready: with Istio, and with the images on its nodes. Errors are *Error where a person can do something
// about it. When ctx is done, kind, istioctl and all that they started are ended, and what is left half made is put right by the next
// call. Two calls at the same time make one cluster.
func Ensure(ctx context.Context, o Options) (Cluster, error) {
	c, err := newCluster(o)
	if err != nil {
		return Cluster{}, err
	}
	wanted, err := c.wantedIstio()
	if err != nil {
		return Cluster{}, err
	}
	client, err := c.whole(ctx, wanted)
	if err != nil { // one thing at least is not as it should be
		if client, err = c.repair(ctx, wanted); err != nil {
			return Cluster{}, err
		}
	}
	if err := c.load(ctx, client); err != nil {
		return Cluster{}, err
	}
	return c.describe(ctx, client)
}

// whole returns a client if the cluster was made to the end, is ready, and has the wanted Istio.
func (c *cluster) whole(ctx context.Context, wanted istio) (kubernetes.Interface, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	st, err := c.readState()
	if err != nil {
		return nil, err
	}
	if st.Phase != made && st.Phase != foreign {
		return nil, errors.New("the cluster was not made to the end")
	}
	client, err := c.client()
	if err == nil {
		err = nodesReady(ctx, client)
	}
	if err == nil {
		err = current(ctx, client)
	}
	if err == nil {
		err = c.istioReady(ctx, client, wanted, st.Phase == foreign)
	}
	if err == nil {
		err = gatewayAPIReady(client.Discovery())
	}
	return client, err
}

// repair does what is missing, under the cluster's lock.
func (c *cluster) repair(ctx context.Context, wanted istio) (_ kubernetes.Interface, err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the cluster %s: %w", c.Name, err)
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if client, err := c.whole(ctx, wanted); err == nil {
		return client, nil // another run has done it meanwhile
	}
	if err := checkDocker(ctx); err != nil {
		return nil, err
	}
	client, err := c.nodes(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.installGatewayAPI(ctx, client); err != nil { // first, so that istiod finds it when it starts
		return nil, err
	}
	return client, c.installIstio(ctx, client, wanted)
}

// nodes leads to nodes that are ready, and to the kubeconfig.
func (c *cluster) nodes(ctx context.Context) (kubernetes.Interface, error) {
	st, err := c.readState()
	if err != nil {
		return nil, err
	}
	there, err := containers(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	if len(there) > 0 && st.Phase != making {
		client, err := c.revive(ctx, there)
		switch {
		case err == nil && st.Phase == "":
			return client, c.writeState(state{Phase: foreign})
		case err == nil || ctx.Err() != nil:
			return client, err
		case st.Phase != made:
			return nil, &Error{"use the cluster " + c.Name, "delete it: kind delete cluster --name " + c.Name + "; or choose another name.",
				fmt.Errorf("there is a kind cluster of that name that Squall has not made, and it is not ready: %w", err)}
		}
	}
	if len(there) > 0 || st.Phase == making {
		if err := c.remove(ctx, "removing what is left of a cluster that is not whole"); err != nil {
			return nil, err
		}
	}
	return c.create(ctx)
}

// revive starts the nodes that were stopped, writes the kubeconfig anew, and waits for the API, the nodes, and what runs on them.
func (c *cluster) revive(ctx context.Context, nodes []container) (client kubernetes.Interface, err error) {
	if stopped := slices.DeleteFunc(slices.Clone(nodes), func(n container) bool { return n.Running }); len(stopped) > 0 {
		args := []string{"start"}
		for _, n := range stopped {
			args = append(args, n.Name)
		}
		if err := c.command(ctx, task{activity: "starting the cluster " + c.Name + " again", log: "start"}, "docker", args...); err != nil {
			return nil, err
		}
	}
	err = c.command(ctx, task{log: "kubeconfig"}, c.Tools.Kind, "export", "kubeconfig", "--name", c.Name, "--kubeconfig", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	if client, err = c.client(); err != nil {
		return nil, err
	}
	if err := c.awaitNodes(ctx, client, startWithin); err != nil {
		return nil, err
	}
	return client, c.awaitCurrent(ctx, client)
}

// create makes a new cluster.
func (c *cluster) create(ctx context.Context) (kubernetes.Interface, error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	if err := c.writeState(state{Phase: making}); err != nil {
		return nil, err
	}
	args := []string{"create", "cluster", "--name", c.Name, "--config", config, "--kubeconfig", c.Kubeconfig()}
	if c.NodeImage != "" {
		args = append(args, "--image", c.NodeImage)
	}
	activity := "creating the kind cluster " + c.Name + " (about 30 s; the first time also a pull of the node image, 400 MB)"
	if err := c.command(ctx, task{activity: activity, log: "create", detail: kindStep}, c.Tools.Kind, args...); err != nil {
		return nil, c.explainConfig(err)
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	if err := c.awaitNodes(ctx, client, readyWithin); err != nil {
		return nil, err
	}
	c.made = true
	return client, c.writeState(state{Phase: made})
}

// Delete removes the cluster, and its kubeconfig and state; what is not there is no error. A cluster that somebody else made loses
// only the latter, unless force is set.
func Delete(ctx context.Context, o Options, force bool) (err error) {
	c, err := newCluster(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("folder of the cluster %s: %w", c.Name, err)
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	st, err := c.readState()
	if err != nil {
		return err
	}
	if err := checkDocker(ctx); err != nil {
		return err
	}
	there, err := containers(ctx, c.Name)
	if err != nil {
		return err
	}
	owned := force || st.Phase == made || st.Phase == making
	if len(there) > 0 && owned {
		if err := c.remove(ctx, "deleting the cluster "+c.Name); err != nil {
			return err
		}
	}
	if len(there) > 0 && !owned {
		err = &Error{"delete the cluster " + c.Name, "delete it with --force, or with: kind delete cluster --name " + c.Name,
			errors.New("it is not one that Squall has made")}
	}
	return errors.Join(err, removeFiles(c.Kubeconfig(), c.stateFile(), c.configFile()))
}

// remove deletes the containers, and sees to it that they stay away. Docker ends what it was asked for also when who asked was killed:
// a node that is just being made cannot be removed for some seconds, and one can come late.
func (c *cluster) remove(ctx context.Context, activity string) (err error) {
	done := toolchain.Track(c.Progress, c.update(activity+" (a few seconds)"), nothing)
	defer func() { done(err) }()
	ctx, cancel := context.WithTimeoutCause(ctx, removeWithin, fmt.Errorf("they are still there after %v", removeWithin))
	defer cancel()
	tick := time.NewTicker(removePoll)
	defer tick.Stop()
	for gone := 0; gone < removeLooks; {
		err := c.command(ctx, task{log: "delete"}, c.Tools.Kind, "delete", "cluster", "--name", c.Name, "--kubeconfig", c.Kubeconfig())
		there, ask := containers(ctx, c.Name)
		if ask != nil {
			return errors.Join(err, ask)
		}
		if gone++; len(there) > 0 {
			gone = 0
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("remove the nodes of %s: %w", c.Name, errors.Join(context.Cause(ctx), err))
		}
	}
	return nil
}
