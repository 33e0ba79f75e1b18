package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/engine"
	"squall/internal/mesh"
	"squall/internal/mesh/local"
	"squall/internal/plan"
	"squall/internal/proc"
	"squall/internal/run"
	"squall/internal/scenario"
	"squall/internal/toolchain"
)

// meshDownWithin bounds the end of a mesh.
const meshDownWithin = 20 * time.Second

// upFlags are the flags of up.
type upFlags struct {
	toolFlags
	name      string
	namespace string
	mtls      mtlsMode
	images    pairs
	detach    bool
	readyFD   int // of a detached mesh: where its parent reads that it is ready
	output    format
}

// mtlsMode is a mode of Istio's PeerAuthentication.
type mtlsMode string

const (
	mtlsPermissive mtlsMode = "PERMISSIVE"
	mtlsStrict     mtlsMode = "STRICT"
	mtlsDisable    mtlsMode = "DISABLE"
)

// String is the flag's value.
func (m *mtlsMode) String() string { return string(*m) }

// Set reads the flag.
func (m *mtlsMode) Set(s string) error { return oneOf(m, s, mtlsPermissive, mtlsStrict, mtlsDisable) }

// Type is what the help calls the value.
func (m *mtlsMode) Type() string { return "MODE" }

func (a *app) upCommand() *cobra.Command {
	f := &upFlags{mtls: mtlsPermissive}
	c := &cobra.Command{
		Use: "up [FIXTURE…]", Short: "Start a local mesh for kubectl and curl", ValidArgsFunction: a.completeFixtures,
		Long: "Start a local mesh with fixtures, folders below fixtures/ or paths to Kubernetes manifests, and keep it until Ctrl-C, or with\n" +
			"--detach until 'squall down'. What is applied to its API later runs too. It has the workload squall-load, whose sidecar\n" +
			"takes calls from this machine.",
		Example: "  squall up httpbin\n  squall up httpbin httpbin-v2 --mtls STRICT --detach --name demo\n  squall down demo",
		RunE: func(c *cobra.Command, args []string) error {
			if f.readyFD > 0 {
				syscall.CloseOnExec(f.readyFD) // it is not the children's
			}
			if f.name == "" {
				f.name = "mesh-" + fmt.Sprintf("%04x", rand.IntN(1<<16))
			}
			k, err := a.compileMesh(f, args)
			if err == nil {
				err = checkMeshID(f.name)
			}
			if err != nil {
				return invalid(err)
			}
			if err := k.Available(); err != nil {
				return environment(err)
			}
			tools, err := a.tools(c.Context(), f.toolFlags)
			if err == nil {
				err = k.Complete(c.Context(), &tools, toolchain.Lines(a.stderr))
			}
			if err != nil {
				return environment(err)
			}
			if f.detach {
				return a.detach(c.Context(), f, args)
			}
			return a.up(c.Context(), f, k.Plan, tools)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.name, "name", "", "`NAME` of the mesh, for 'squall down' (default mesh-XXXX)")
	fs.StringVar(&f.namespace, "namespace", "squall", "`NAMESPACE` of the fixtures")
	fs.Var(&f.mtls, "mtls", "mTLS of the namespace: PERMISSIVE, STRICT or DISABLE")
	fs.BoolVarP(&f.detach, "detach", "d", false, "leave the mesh running in the background")
	fs.IntVar(&f.readyFD, "ready-fd", 0, "file descriptor to write to and close when the mesh is ready")
	addImages(c, &f.images)
	f.toolFlags.add(c)
	output(c, &f.output)
	complete(c, "mtls", cobra.FixedCompletions(
		[]string{string(mtlsPermissive), string(mtlsStrict), string(mtlsDisable)}, cobra.ShellCompDirectiveNoFileComp))
	if err := fs.MarkHidden("ready-fd"); err != nil {
		panic(err) // it was defined above
	}
	return c
}

// compileMesh compiles fixtures as a scenario without stages would be.
func (a *app) compileMesh(f *upFlags, fixtures []string) (*engine.Compiled, error) {
	config := engine.Config{Fixtures: a.fixtures, Images: f.images}
	k, err := config.Compile(&scenario.Scenario{
		File:     "up", // paths of fixtures are relative to the working folder
		Metadata: scenario.Metadata{Name: f.name},
		Spec: scenario.Spec{
			Namespace: f.namespace, Fixtures: fixtures, Mesh: scenario.Mesh{MTLS: string(f.mtls)},
			Client:   scenario.Client{ServiceAccount: "squall-load", Sidecar: true},
			Baseline: scenario.Baseline{Skip: "a mesh for a person"},
		},
	})
	if err != nil { // there is no file that the fixtures' names stand in
		return nil, errors.New(regexp.MustCompile(`(?m)^: spec\.\S+: `).ReplaceAllString(err.Error(), ""))
	}
	return k, nil
}

// up keeps a mesh until a signal comes or it breaks.
func (a *app) up(ctx context.Context, f *upFlags, p *plan.Plan, tools toolchain.Tools) error {
	st, err := newMeshState(f.name, f.namespace)
	if err == nil {
		st.Dir, err = meshFolder()
	}
	if err == nil {
		err = st.claim()
	}
	if err != nil {
		return environment(errors.Join(err, os.RemoveAll(st.Dir)))
	}
	env, err := local.New(local.Options{
		GatewayAPI: true,
		Tools:      tools, Dir: st.Dir, Images: f.images,
		Log: func(process string) string { return filepath.Join(st.Logs, process+".log") },
	})
	if err == nil {
		err = a.serve(ctx, f, &st, p, env)
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), meshDownWithin)
		defer cancel()
		err = errors.Join(err, env.Down(down))
	}
	var signal *run.SignalError
	if err == nil || errors.As(err, &signal) {
		if err = errors.Join(err, st.remove()); err != nil {
			return environment(err)
		}
		return nil
	}
	st.Error = err.Error()
	return environment(errors.Join(fmt.Errorf("mesh %s: %w\nits logs are in %s until 'squall down %s'", st.ID, err, st.Logs, st.ID), st.write()))
}

// serve deploys the mesh, says so, and returns when a signal comes (no error) or when the mesh is broken.
func (a *app) serve(ctx context.Context, f *upFlags, st *meshState, p *plan.Plan, env *local.Mesh) error {
	start := time.Now()
	broken, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		a.watchFailures(broken, cancel, env)
	}()
	objects, proxies, err := run.Deploy(broken, env, p, run.With{})
	if err != nil {
		cancel(err)
		<-watched
		return errors.Join(context.Cause(ctx), because(ctx, broken, err))
	}
	if st.Caller, err = callerOf(env, proxies); err != nil {
		return err
	}
	if st.Gateway, err = mesh.IngressAddress(broken, objects, "80"); err != nil {
		return err
	}
	st.Services, st.Ready = services(p.Fixtures, f.namespace), true
	if err := errors.Join(os.WriteFile(st.Kubeconfig, env.Kubeconfig(f.namespace), 0o600), st.write()); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "mesh %s is ready after %d ms: %d proxies\n", st.ID, time.Since(start).Milliseconds(), len(proxies))
	if err := a.announce(f, st); err != nil {
		return err
	}
	a.watchWorkloads(broken, objects)
	cancel(nil)
	<-watched
	return because(ctx, broken, nil)
}

// meshFolder makes a working folder for a mesh. Its path has no symbolic links, so that processes in it can be found by it.
func meshFolder() (string, error) {
	dir, err := os.MkdirTemp("", "squall-")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// because is why the mesh came to its end: nothing when a signal asked for it, else what broke first.
func because(asked, broken context.Context, err error) error {
	var signal *run.SignalError
	if errors.As(context.Cause(asked), &signal) {
		return nil
	}
	if cause := context.Cause(broken); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// watchFailures prints what dies. The mesh lives on without an application or a proxy, whose owner can be told to start anew,
// but not without istiod.
func (a *app) watchFailures(ctx context.Context, cancel context.CancelCauseFunc, env mesh.Env) {
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-env.Failed():
			var exit *proc.ExitError
			if !errors.As(err, &exit) || exit.Name == "istiod" {
				cancel(err)
				return
			}
			fmt.Fprintln(a.stderr, message(err))
		}
	}
}

// services are host:port of the namespace's Services among the objects.
func services(objects []*unstructured.Unstructured, namespace string) []string {
	var out []string
	for _, o := range objects {
		ports, _, _ := unstructured.NestedSlice(o.Object, "spec", "ports") // the API took it
		if o.GetKind() != "Service" || o.GetNamespace() != namespace || len(ports) == 0 {
			continue
		}
		if port, ok := ports[0].(map[string]any); ok {
			out = append(out, fmt.Sprintf("%s:%v", o.GetName(), port["port"]))
		}
	}
	return out
}
