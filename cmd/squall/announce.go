package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"squall/internal/mesh"
	"squall/internal/record"
)

// callerOf is where the load generator's proxy takes calls.
func callerOf(env mesh.Caller, proxies []record.Proxy) (string, error) {
	for _, p := range proxies {
		if p.Client {
			return env.CallAddress(p.Pod)
		}
	}
	return "", errors.New("the load generator has no proxy")
}

// announce says that the mesh is ready: to the parent of a detached one, else on stdout.
func (a *app) announce(f *upFlags, st *meshState) error {
	if f.readyFD > 0 {
		w := os.NewFile(uintptr(f.readyFD), "ready-fd")
		_, err := fmt.Fprintln(w, "ready")
		return errors.Join(err, w.Close())
	}
	return a.printMesh(*st, f.output, "end it with Ctrl-C")
}

// printMesh says how to use a mesh.
func (a *app) printMesh(st meshState, to format, end string) error {
	if to == asJSON {
		return a.printJSON(st)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mesh %s is up; %s\n\n", st.ID, end)
	fmt.Fprintf(&b, "  export KUBECONFIG=%s\n", st.Kubeconfig)
	fmt.Fprintf(&b, "  kubectl get pods,services     # namespace %s\n", st.Namespace)
	fmt.Fprintf(&b, "  kubectl apply -f FILE         # workloads run too; Istio's objects go to a real istiod\n")
	for _, s := range st.Services {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "  curl -H 'Host: %s' http://%s/     # through the sidecar of squall-load\n", net.JoinHostPort(host, port), net.JoinHostPort(st.Caller, port))
	}
	if st.Gateway != "" {
		fmt.Fprintf(&b, "  http://%s/     # the ingress gateway's port 80: for curl and browsers\n", st.Gateway)
	}
	fmt.Fprintf(&b, "\nlogs: %s\n", st.Logs)
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// watchWorkloads prints the failures of Deployments, such as of one that kubectl applied, each once, until ctx ends.
func (a *app) watchWorkloads(ctx context.Context, o *mesh.Objects) {
	seen := map[string]string{}
	for ctx.Err() == nil {
		w, err := o.Kube.AppsV1().Deployments("").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			if ctx.Err() == nil {
				fmt.Fprintln(a.stderr, "squall: workloads are not watched any more: "+err.Error())
			}
			<-ctx.Done()
			return
		}
		for e := range w.ResultChan() { // it ends with ctx, and when the API thinks that it has to be started anew
			a.reportWorkload(e, seen)
		}
		w.Stop()
	}
}

func (a *app) reportWorkload(e watch.Event, seen map[string]string) {
	d, ok := e.Object.(*appsv1.Deployment)
	if !ok {
		return
	}
	key, text := d.Namespace+"/"+d.Name, ""
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			text = c.Message
		}
	}
	if text != "" && text != seen[key] {
		fmt.Fprintf(a.stderr, "squall: deployment %s: %s\n", key, text)
	}
	seen[key] = text
}
