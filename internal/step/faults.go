package step

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/fields"
	"squall/internal/scenario"
)

// Action is what a step does to the pods of a workload, or what has to be seen of them after a change of their Deployment.
type Action struct {
	Step      string
	Kind      string // the step's
	Namespace string
	Workload  string        // the Deployment
	Pods      int           // how many of its pods; 0 is all
	Stuck     bool          // a rollout that is not to come to its end
	Whole     bool          // a partition from everybody
	For       time.Duration // of a stop: after which it ends by itself; 0 is by the rollback
}

// String says what is done to the pods, "" when nothing is but what a change of an object does.
func (a Action) String() string {
	verb, ok := map[string]string{"kill": "kills", "stop": "stops the program of", "evict": "evicts", "cordon": "cordons the nodes of"}[a.Kind]
	if a.Kind == "partition" && a.Whole {
		verb, ok = "cuts off", true
	}
	if !ok {
		return ""
	}
	which := "all pods"
	if a.Pods > 0 {
		which = strconv.Itoa(a.Pods) + " of the pods"
	}
	span := ""
	if a.For > 0 {
		span = " for " + a.For.String()
	}
	return verb + " " + which + " of " + a.Workload + span
}

// restartedAt is the annotation by which kubectl rollout restart makes a template another one.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// workload finds the Deployment that a field of the step names; ok is false when it was reported.
func (c *compiler) workload(field, name string) (u *unstructured.Unstructured, ok bool) {
	if name == c.opts.Client && name != "" {
		c.problem(field, name+" is the load generator", "a worker that is lost is told by the load itself: see workers and allowLostWorkers")
		return nil, false
	}
	return c.deployment(field, name)
}

func (c *compiler) deployment(field, name string) (u *unstructured.Unstructured, ok bool) {
	if u, ok := c.set.objects[key{"apps", "Deployment", c.opts.Namespace, name}]; ok {
		return u, true
	}
	var names []string
	for _, d := range c.set.list("apps", "Deployment") {
		if d.GetNamespace() == c.opts.Namespace && d.GetName() != c.opts.Client {
			names = append(names, d.GetName())
		}
	}
	c.problem(field, fmt.Sprintf("the namespace %s has no Deployment %q", c.opts.Namespace, name), scenario.DidYouMean(name, names))
	return nil, false
}

func replicasOf(u *unstructured.Unstructured) int {
	n, given, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	if !given {
		return 1
	}
	return int(n)
}

// onAll notes an action on all pods of the Deployment, unless another step of the stage has one on them.
func (c *compiler) onAll(u *unstructured.Unstructured, stuck bool) {
	if c.claim("the pods of "+u.GetName(), "what is done", "workload", c.step.Kind) {
		c.act(u, 0, stuck)
	}
}

// act notes what is done to the pods of the Deployment.
func (c *compiler) act(u *unstructured.Unstructured, pods int, stuck bool) {
	c.actions = append(c.actions, Action{
		Step: c.step.String(), Kind: c.step.Kind, Namespace: u.GetNamespace(), Workload: u.GetName(), Pods: pods, Stuck: stuck,
		Whole: c.step.Kind == "partition" && c.step.Spec.(*scenario.Partition).Workload != "",
	})
}

func scale(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Scale)
	u, ok := c.workload("workload", spec.Workload)
	if !ok || !c.claim("the Deployment "+spec.Workload, "replicas", "replicas", spec.Replicas) {
		return
	}
	if int(spec.Replicas) == replicasOf(u) {
		c.problem("replicas", fmt.Sprintf("%s has %d already, so that nothing would change", spec.Workload, spec.Replicas), "")
		return
	}
	after := c.edit(u, "")
	fields.Child(after.Object, "spec")["replicas"] = int64(spec.Replicas)
	c.onAll(u, false)
}

func restart(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Restart)
	u, ok := c.workload("workload", spec.Workload)
	if !ok || !c.hasReplicas(u) {
		return
	}
	template := fields.Child(fields.Child(c.edit(u, "").Object, "spec"), "template")
	fields.Child(fields.Child(template, "metadata"), "annotations")[restartedAt] = orMarker(c.opts.Marker)
	c.onAll(u, false)
}

func orMarker(marker string) string {
	if marker == "" {
		return "squall"
	}
	return marker
}

func (c *compiler) hasReplicas(u *unstructured.Unstructured) bool {
	if replicasOf(u) == 0 {
		c.problem("workload", u.GetName()+" has no pods", "")
		return false
	}
	return true
}

func rollout(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Rollout)
	u, ok := c.workload("workload", spec.Workload)
	if !ok || !c.hasReplicas(u) {
		return
	}
	if strategy, _, _ := unstructured.NestedString(u.Object, "spec", "strategy", "type"); strategy == "Recreate" && spec.Expect == "stuck" {
		c.problem("expect", spec.Workload+" ends its old pods before it starts new ones (strategy Recreate), so that none goes on serving",
			"expect stuck with a strategy of RollingUpdate")
		return
	}
	at, ok := c.container(u, spec.Container)
	if !ok {
		return
	}
	if isSame(containersOf(u)[at], spec) {
		c.problem("", "the container has this image and these variables already, so that nothing would change", "")
		return
	}
	replaceIn(containersOf(c.edit(u, ""))[at], spec)
	c.onAll(u, spec.Expect == "stuck")
}

func containersOf(u *unstructured.Unstructured) []map[string]any {
	spec, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "template", "spec")
	m, _ := spec.(map[string]any)
	return fields.Maps(m, "containers")
}

// container is the place of the container of that name, the first for none; ok is false when there is none, which was reported.
func (c *compiler) container(u *unstructured.Unstructured, name string) (at int, ok bool) {
	containers := containersOf(u)
	if name == "" && len(containers) > 0 {
		return 0, true
	}
	if at = slices.IndexFunc(containers, func(m map[string]any) bool { return str(m, "name") == name }); at >= 0 {
		return at, true
	}
	var names []string
	for _, m := range containers {
		names = append(names, str(m, "name"))
	}
	c.problem("container", fmt.Sprintf("%s has no container %q", u.GetName(), name), scenario.DidYouMean(name, names))
	return 0, false
}

// isSame says whether the container has the rollout's image and variables already.
func isSame(container map[string]any, spec *scenario.Rollout) bool {
	if spec.Image != "" && str(container, "image") != spec.Image {
		return false
	}
	for name, value := range spec.Env {
		if !slices.ContainsFunc(fields.Maps(container, "env"), func(e map[string]any) bool { return str(e, "name") == name && str(e, "value") == value }) {
			return false
		}
	}
	return true
}

// replaceIn gives the container the rollout's image and variables.
func replaceIn(container map[string]any, spec *scenario.Rollout) {
	if spec.Image != "" {
		container["image"] = spec.Image
	}
	env := slices.DeleteFunc(slices.Clone(asList(container["env"])), func(e any) bool {
		m, _ := e.(map[string]any)
		_, replaced := spec.Env[str(m, "name")]
		return replaced
	})
	for _, name := range sortedKeys(spec.Env) {
		env = append(env, map[string]any{"name": name, "value": spec.Env[name]})
	}
	if len(env) > 0 {
		container["env"] = env
	}
}

func kill(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Kill)
	c.onPods(spec.Workload, spec.Pods)
}

// onPods notes an action on pods of a workload. Several actions on one workload in a stage would be on pods that come and go.
func (c *compiler) onPods(workload string, pods scenario.Pods) {
	u, ok := c.workload("workload", workload)
	if !ok || !c.hasReplicas(u) {
		return
	}
	have := replicasOf(u)
	n, ok := pods.Of(have)
	if !ok {
		c.problem("pods", fmt.Sprintf("%s has %d of them", workload, have), "write all, or fewer")
		return
	}
	if n == have {
		n = 0
	}
	if c.claim("the pods of "+workload, "what is done", "workload", c.step.Kind) {
		c.act(u, n, false)
	}
}

func stop(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Stop)
	if c.opts.Cluster {
		c.problem("", "a cluster does not let Squall stop a program of a pod",
			"use partition, or scale with replicas: 0, or a delay; the local mesh has stop")
		return
	}
	had := len(c.actions)
	c.onPods(spec.Workload, spec.Pods)
	if len(c.actions) > had {
		c.actions[had].For = time.Duration(spec.For)
	}
}

func evict(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Evict)
	if c.onNodes() {
		c.onPods(spec.Workload, spec.Pods)
	}
}

func cordon(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Cordon)
	if !c.onNodes() {
		return
	}
	if u, ok := c.workload("workload", spec.Workload); ok && c.hasReplicas(u) {
		c.act(u, 0, false)
	}
}

// onNodes reports a step that needs nodes where there are none.
func (c *compiler) onNodes() bool {
	if !c.opts.Cluster {
		c.problem("", "the local mesh is one node, so that a pod has nowhere else to go", "use kill or restart, or a cluster with several nodes")
	}
	return c.opts.Cluster
}

func partition(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.Partition)
	if c.opts.Cluster {
		c.isolate(spec)
		return
	}
	if spec.From != "" {
		c.problem("from", "the local mesh has no network between pods that could be cut for one caller alone",
			"write workload: "+spec.To+" to cut all of its connections, or abort or delay for those of one caller")
		return
	}
	u, ok := c.workload("workload", spec.Workload)
	if !ok || !c.hasReplicas(u) {
		return
	}
	if h, direct, ok := c.facing(u); ok && !direct && c.opts.Midway {
		c.problem("workload", "what the others met of "+h.Short+" in the part of the load after the cut cannot be proven, since its own proxies are cut off too",
			"apply it before the load: remove applyAt")
		return
	}
	c.onAll(u, false)
}

// facing is the service that leads to a workload's pods, the one that the load calls if it is among several.
func (c *compiler) facing(u *unstructured.Unstructured) (h Host, direct, ok bool) {
	labels := templateLabels(u)
	for _, s := range c.set.list("", "Service") {
		selector, _, _ := unstructured.NestedStringMap(s.Object, "spec", "selector")
		if s.GetNamespace() != u.GetNamespace() || len(selector) == 0 || !includes(labels, selector) {
			continue
		}
		this, found := c.set.Resolve(s.GetName()+"."+s.GetNamespace(), c.opts.Namespace)
		if found && (!ok || c.isTarget(this) && c.opts.Target != "") {
			h, direct, ok = this, c.isTarget(this), true
		}
	}
	return h, direct, ok
}

func templateLabels(u *unstructured.Unstructured) map[string]string {
	labels, _, _ := unstructured.NestedStringMap(u.Object, "spec", "template", "metadata", "labels")
	return labels
}
