// Package step compiles chaos steps to Istio objects. It merges them into the objects that a mesh already has for a host,
// touching nothing else, and says what proves that each step took effect. It only computes: nothing is applied here.
package step

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/scenario"
)

const (
	networking = "networking.istio.io"
	security   = "security.istio.io"
)

// Options say where the steps act.
type Options struct {
	// Namespace is where the caller and new objects live, and from where hosts are seen.
	Namespace string
	// Marker is the name, a DNS label, that shows in the proxies' configuration that the objects are live.
	Marker string
	// Target is the host that the load calls, as in its URL. For a step on another host the proofs look at the proxies
	// other than the load generator's. "" takes each step's host for the target.
	Target string
	// Plaintext says that the load generator has no sidecar, so that rules of the caller's side do not apply to it.
	Plaintext bool
	// Request is what the load sends to Target; nil is that it is not known.
	Request *Request
	// API is what steps for routes are compiled to that do not say it: istio, which is also "", or gateway.
	API string
	// Midway says that the steps are applied while the load runs, so that requests before them take other ways.
	Midway bool
	// Cluster says that the mesh is on a cluster of Kubernetes and not on this machine.
	Cluster bool
	// Client is the name of the load generator's Deployment.
	Client string
	// Settings are those of flow control that steps of earlier stages have made, by the service's name and by their keys.
	Settings map[string]map[string]any
}

// Request is what all requests of a load have in common.
type Request struct {
	Method  string
	Path    string            // with its query
	Headers map[string]string // as the author wrote them; a cookie or a token that a sign-in brings is not among them
}

// Compiled is what the steps come to.
type Compiled struct {
	// Changes are the objects to apply, in this order, each once.
	Changes []Change
	// Actions are what is done to pods, or seen of them, after the changes.
	Actions []Action
	// Settings are changes of the flow control of services, after the actions.
	Settings []SettingsChange
	// Proofs are what holds when the steps took effect.
	Proofs []Proof
	// Faults are the steps that inject or reroute something, so that each needs a proof.
	Faults []string
	// Unproven is what steps do without a proof, and why: limits that need not be reached, rules that no request of the load
	// is under, kinds of objects that say nothing of what requests meet.
	Unproven []Unproven
}

// Unproven is something that a step does and that nothing proves.
type Unproven struct {
	Step   string
	Reason string
}

// Change makes one object be After.
type Change struct {
	Step   string   // the first of Steps
	Steps  []string // the steps that make it, such as circuitBreaker httpbin
	Before *unstructured.Unstructured
	After  *unstructured.Unstructured
	// Host is the full name of the service whose callers the change concerns; "" concerns every proxy.
	Host string
	// Marks show that the change is live in a caller's proxy. Kinds that Envoy's configuration cannot name have none.
	Marks []Mark
}

// Mark is a name in a proxy's configuration. Kind route is the full name of a route, kind cluster a part of a cluster's.
type Mark struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Or are names of routes that stand for it in the proxies of some callers.
	Or []string `json:"or,omitempty"`
}

// Proof is a statement in the language of checks that holds when the step took effect on the edge it is meant for. Without Expr nothing can
// prove the step, and Text says why.
type Proof struct {
	Step string `json:"step"`
	Text string `json:"text"`
	Expr string `json:"expr"`
}

// kind compiles and proves one kind of step.
type kind struct {
	compile func(*compiler, scenario.Step)
	proofs  func(*compiler, scenario.Step) []Proof
}

// table has an entry for each of scenario.Kinds.
func table() map[string]kind {
	return map[string]kind{
		"circuitBreaker": {circuitBreaker, proveCircuitBreaker},
		"outlier":        {outlier, proveOutlier},
		"delay":          {delay, proveDelay},
		"abort":          {abort, proveAbort},
		"timeout":        {timeout, proveTimeout},
		"retries":        {retries, proveRetries},
		"weights":        {weights, proveWeights},
		"mirror":         {mirror, proveMirror},
		"route":          {route, proveRoute},
		"jwt":            {jwt, proveJWT},
		"authorize":      {authorize, proveAuthorize},
		"gateway":        {gateway, proveGateway},
		"mtls":           {mtls, proveMTLS},
		"scale":          {scale, proveScale},
		"kill":           {kill, proveReplaced},
		"restart":        {restart, proveReplaced},
		"rollout":        {rollout, proveRollout},
		"stop":           {stop, proveStop},
		"partition":      {partition, provePartition},
		"evict":          {evict, proveReplaced},
		"cordon":         {cordon, proveCordon},
		"flowControl":    {flowControl, proveFlowControl},
		"manifest":       {manifest, proveManifest},
	}
}

// Compile compiles the steps that are live together. The set is not changed. The error is scenario.Problems with all
// mistakes: hosts that no service has, subsets without pods, steps that contradict each other.
func Compile(set *Set, steps []scenario.Step, opts Options) (Compiled, error) {
	c := &compiler{
		base: set, set: set.clone(), opts: opts, steps: steps, table: table(),
		changes: map[key]*Change{}, routes: map[key]*routing{}, httpRoutes: map[key]*ruling{}, claims: map[string]claim{}, made: map[string]string{},
	}
	for _, s := range ordered(steps) {
		c.step = s
		c.kindOf(s).compile(c, s)
	}
	c.finishRoutes()
	c.finishHTTPRoutes()
	c.refuseElsewhere()
	if err := c.problems.Err(); err != nil {
		return Compiled{}, err
	}
	var out Compiled
	for _, k := range c.order {
		change := c.changes[k]
		if err := c.finish(change); err != nil {
			return Compiled{}, err
		}
		out.Changes = append(out.Changes, *change)
	}
	out.Actions, out.Settings = c.actions, c.settings
	c.prove(&out)
	return out, nil
}

// prove adds what shows that each step took effect. A step that has neither a proof nor a statement why not is unprovable.
func (c *compiler) prove(out *Compiled) {
	for _, s := range c.steps {
		c.step = s
		if why := s.Unproven(); why != "" {
			c.state("%s", why)
			continue
		}
		stated := len(c.unproven)
		proofs := c.kindOf(s).proofs(c, s)
		if len(proofs) == 0 && len(c.unproven) == stated {
			proofs = c.unprovable("no counter tells whether it took effect")
		}
		if len(proofs) > 0 {
			out.Proofs = append(out.Proofs, proofs...)
			out.Faults = append(out.Faults, s.String())
		}
	}
	out.Unproven = c.unproven
}

// ordered puts manifests first, so that steps are merged into them, and steps on a subset last, so that what is set for
// the whole host does not reach over what is set for the subset. Workloads are scaled after that: what other steps say of their pods
// is about those from before.
func ordered(steps []scenario.Step) []scenario.Step {
	rank := func(s scenario.Step) int {
		switch spec := s.Spec.(type) {
		case *scenario.Manifest:
			return 0
		case *scenario.CircuitBreaker:
			return 1 + min(len(spec.Subset), 1)
		case *scenario.Outlier:
			return 1 + min(len(spec.Subset), 1)
		case *scenario.Scale:
			return 3
		}
		return 1
	}
	out := slices.Clone(steps)
	slices.SortStableFunc(out, func(a, b scenario.Step) int { return rank(a) - rank(b) })
	return out
}

// compiler is the state of one compilation.
type compiler struct {
	base       *Set // as given
	set        *Set // with the changes so far
	opts       Options
	steps      []scenario.Step
	table      map[string]kind
	step       scenario.Step // the one at work
	changes    map[key]*Change
	order      []key
	routes     map[key]*routing
	httpRoutes map[key]*ruling // the same for those of the Gateway API
	claims     map[string]claim
	made       map[string]string // the names of the policies that steps made, by the steps' paths
	actions    []Action
	settings   []SettingsChange
	unproven   []Unproven
	missed     []Proof // of the manifest at work: of faults that no request of the load comes to
	problems   scenario.Problems
}

// state notes something that the step at work does and that nothing proves.
func (c *compiler) state(format string, args ...any) {
	c.unproven = append(c.unproven, Unproven{c.step.String(), fmt.Sprintf(format, args...)})
}

// unprovable is a proof of the step at work that never holds, for the reason: the run is INCONCLUSIVE, unless the author says why nothing
// has to prove the step.
func (c *compiler) unprovable(format string, args ...any) []Proof {
	return []Proof{{Step: c.step.String(), Text: fmt.Sprintf(format, args...)}}
}

func (c *compiler) problem(field, what, hint string) {
	c.problems = append(c.problems, c.step.Problem(field, what, hint))
}

// edit returns the object to change in place; before may be nil, and u is then the new object.
func (c *compiler) edit(u *unstructured.Unstructured, host string) *unstructured.Unstructured {
	k := keyOf(u)
	change, ok := c.changes[k]
	if !ok {
		change = &Change{Step: c.step.String(), Before: c.base.objects[k], After: u.DeepCopy(), Host: host}
		if change.Before != nil {
			change.Before = change.Before.DeepCopy()
		}
		c.changes[k] = change
		c.order = append(c.order, k)
		c.set.put(change.After)
	}
	if host != "" {
		change.Host = host
	}
	if name := c.step.String(); !slices.Contains(change.Steps, name) {
		change.Steps = append(change.Steps, name)
	}
	return change.After
}

// host resolves the field of the step that names a host; ok is false when it was reported.
func (c *compiler) host(field, name string) (h Host, ok bool) {
	h, ok = c.set.Resolve(name, c.opts.Namespace)
	if !ok {
		c.problem(field, fmt.Sprintf("no service has the host %q", name), scenario.DidYouMean(name, c.set.Hosts(c.opts.Namespace)))
		return h, false
	}
	return h, true
}

// callerHost is host for rules that act in the caller's proxy.
func (c *compiler) callerHost(name string) (h Host, ok bool) {
	h, ok = c.host("host", name)
	if ok && c.opts.Plaintext && c.isTarget(h) {
		c.problem("host", "the rule acts in the caller's proxy, but the load generator has none",
			"set spec.client.sidecar to true")
		return h, false
	}
	return h, ok
}

func (c *compiler) isTarget(h Host) bool {
	if c.opts.Target == "" {
		return true
	}
	target, ok := c.set.Resolve(c.opts.Target, c.opts.Namespace)
	return ok && target.FQDN == h.FQDN
}

// claim is a value that a step gives to a field of a host.
type claim struct {
	value string
	step  scenario.Step
	field string
}

// claim notes that the step gives the field of the thing a value. Another step that gives it another value is a
// problem, reported here; it is then false.
func (c *compiler) claim(thing, name, field string, value any) bool {
	id, text := thing+" "+name, fmt.Sprint(value)
	first, ok := c.claims[id]
	if !ok {
		c.claims[id] = claim{text, c.step, field}
		return true
	}
	if first.value == text {
		return true
	}
	c.problem(field, fmt.Sprintf("sets %s of %s to %s, but %s sets it to %s", name, thing, text,
		first.step.At(first.field), first.value), "leave one of them out")
	return false
}

// kindOf is how the step is compiled and proven.
func (c *compiler) kindOf(s scenario.Step) kind {
	if k, ok := gatewayTable()[s.Kind]; ok && c.isGatewayAPI(s) {
		return k
	}
	return c.table[s.Kind]
}

// finish marks the object and makes sure that Istio's types still know all of it, as far as they did before.
func (c *compiler) finish(change *Change) error {
	change.Marks = c.marks(change)
	what := decodeStrictly(change.After)
	if what == "" || change.Before != nil && decodeStrictly(change.Before) != "" {
		return nil
	}
	return fmt.Errorf("%s: %s %s is not valid for Istio: %s", change.Step, change.After.GetKind(), change.After.GetName(), what)
}
