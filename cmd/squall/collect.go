package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"squall/internal/mesh"
	"squall/internal/record"
	"squall/internal/run"
	"squall/internal/traffic"
	"squall/internal/traffic/collect"
)

// closeWithin is how long the store may take for what is pending at the end.
const closeWithin = 30 * time.Second

// collectFlags are the flags of collect.
type collectFlags struct {
	connection
	listen     string
	interfaces []string
}

func (a *app) collectCommand() *cobra.Command {
	f := &collectFlags{}
	c := &cobra.Command{
		Use:   "collect [STORE]",
		Short: "Collect the interface traffic of any mesh until Ctrl-C",
		Long: "Serve Envoy's access log service, and the OpenTelemetry protocol's logs, for the proxies of any mesh, and keep each of their\n" +
			"requests in STORE: a file of SQLite (default records.db), or a file application.yaml that says where Elasticsearch is. What makes\n" +
			"a mesh send its access logs is a Telemetry with an extension provider: see docs/traffic.md. At the end two\n" +
			"accounts are printed: of the entries that came, with those that were ignored by reason, and of the records: received, stored, dropped.\n\n" +
			"With a kubeconfig, or in a pod, the cluster's pods and services are watched, so that records name both ends of each request.",
		Example: "  squall collect --listen 0.0.0.0:15017 traffic.db\n  squall collect application.yaml --kubeconfig ~/.kube/config --interface 'GET /reviews/{id}'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			store := record.TrafficStore
			if len(args) > 0 {
				store = args[0]
			}
			return a.collect(c.Context(), f, store)
		},
	}
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:15017", "`ADDRESS` at which proxies are served, without TLS")
	c.Flags().StringArrayVar(&f.interfaces, "interface", nil, "an interface with a name: `[METHOD ]/path/{parameter}`; others are learned; may be repeated")
	f.add(c, "without it, and not in a pod, no cluster is asked")
	return c
}

func (a *app) collect(ctx context.Context, f *collectFlags, store string) (err error) {
	a.endsBy("closing the store; once more to quit at once")
	opts, err := f.options(store)
	if err != nil {
		return invalid(err)
	}
	c, err := collect.New(opts)
	if err != nil {
		return invalid(err)
	}
	if err := c.Use(ctx, nil); err != nil {
		return environment(err)
	}
	defer func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		err = errors.Join(err, c.Close(within), a.println(c.Counts().String()), a.println(c.Account().String()))
	}()
	if err := f.watch(ctx, c.Peers()); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return environment(fmt.Errorf("--listen: %w", err))
	}
	if err := a.println("taking access logs at " + l.Addr().String() + ", keeping them in " + store); err != nil {
		return errors.Join(err, l.Close())
	}
	return c.Serve(ctx, l)
}

func (f *collectFlags) options(store string) (collect.Options, error) {
	o := collect.Options{Run: "collect", File: store}
	for _, text := range f.interfaces {
		t, err := traffic.ParseTemplate(text)
		if err != nil {
			return o, fmt.Errorf("--interface: %w", err)
		}
		o.Interfaces = append(o.Interfaces, t)
	}
	if !strings.HasSuffix(store, ".yaml") && !strings.HasSuffix(store, ".yml") {
		return o, nil
	}
	var in recordsIn
	err := in.Set(store)
	if err == nil {
		o.Elastic = in.store.Elastic
	}
	return o, err
}

// watch keeps the peers up to date, where a cluster is given.
func (f *collectFlags) watch(ctx context.Context, peers *collect.Peers) error {
	if !f.given() && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return nil
	}
	_, access, err := f.look()
	if err != nil {
		return err
	}
	objects, err := mesh.NewObjects(access)
	if err != nil {
		return environment(err)
	}
	err = objects.WatchAll(ctx, mesh.Watched{
		Pod: func(p mesh.Pod) { peers.Learn(map[string]traffic.Workload{p.Status.PodIP: run.WorkloadOf(p)}, nil) },
		Service: func(s *corev1.Service) {
			peers.Learn(nil, []collect.Service{{Namespace: s.Namespace, Name: s.Name, IPs: s.Spec.ClusterIPs}})
		},
	})
	if err != nil {
		return environment(err)
	}
	return nil
}
