package scenario

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// step checks what can be known without a mesh.
func (v *validator) step(s Step) {
	report := func(field, what, hint string) { v.report(s.path(field), what, hint) }
	switch spec := s.Spec.(type) {
	case *CircuitBreaker:
		if *spec == (CircuitBreaker{Host: spec.Host, Subset: spec.Subset, Provable: spec.Provable}) {
			report("", "sets no limit", "write for instance maxConnections: 1")
		}
	case *Outlier:
		if *spec == (Outlier{Host: spec.Host, Subset: spec.Subset, Provable: spec.Provable}) {
			report("", "sets nothing", "write for instance consecutive5xxErrors: 5")
		}
	case *Delay:
		checkMatch("match", spec.Match, report)
	case *Abort:
		checkMatch("match", spec.Match, report)
		if (spec.HTTPStatus != 0) == (spec.GRPCStatus != "") {
			report("", "needs exactly one of httpStatus and grpcStatus", "write for instance httpStatus: 503")
		}
	case *Retries:
		checkMatch("match", spec.Match, report)
		if spec.Attempts == 0 && (spec.PerTryTimeout > 0 || spec.RetryOn != "") {
			report("attempts", "0 switches retries off, but other fields are given", "write attempts: 1 or more")
		}
	case *Weights:
		checkWeights(spec, report)
		checkMatch("match", spec.Match, report)
	case *Timeout:
		checkMatch("match", spec.Match, report)
	case *Mirror:
		checkDestination(spec.To, report)
		checkMatch("match", spec.Match, report)
	case *Route:
		checkDestination(spec.To, report)
		checkMatch("match", spec.Match, report)
	case *MTLS:
		if spec.Scope == "mesh" && len(spec.Workload) > 0 {
			report("workload", "is given beside scope: mesh, which is for all workloads", "remove one of them")
		}
	case *JWT:
		if btoi(spec.JWKSURI != "")+btoi(spec.JWKS != "") != 1 {
			report("", "needs exactly one of jwksUri and jwks", "")
		}
	case *Authorize:
		checkAuthorize(spec, report)
	case *Gateway:
		checkGateway(spec, report)
	case *Rollout:
		if spec.Image == "" && len(spec.Env) == 0 {
			report("", "changes nothing", "write image or env")
		}
	case *Partition:
		checkPartition(spec, report)
	case *FlowControl:
		checkFlowControl(spec, report)
	case *Manifest:
		if given := btoi(spec.File != "") + btoi(spec.Object != nil) + btoi(spec.Objects != nil); given != 1 {
			report("", "needs exactly one of file, object and objects", "")
		}
	}
	v.durations(s)
}

// durations refuses what Istio cannot hold.
func (v *validator) durations(s Step) {
	const least = Duration(time.Millisecond)
	short := func(field string, d Duration) {
		if d > 0 && d < least {
			v.report(s.path(field), fmt.Sprintf("%s is below Istio's least, %s", d, least), "")
		}
	}
	switch spec := s.Spec.(type) {
	case *CircuitBreaker:
		short("connectTimeout", spec.ConnectTimeout)
	case *Outlier:
		short("interval", spec.Interval)
		short("baseEjectionTime", spec.BaseEjectionTime)
	case *Delay:
		short("fixedDelay", spec.FixedDelay)
	case *Timeout:
		short("timeout", spec.Timeout)
	case *Retries:
		short("perTryTimeout", spec.PerTryTimeout)
	}
}

type reporter func(field, what, hint string)

func checkMatch(field string, m *Match, report reporter) {
	if m == nil {
		return
	}
	texts := map[string]*StringMatch{"uri": m.URI, "method": m.Method, "authority": m.Authority}
	given := len(m.Headers) + len(m.QueryParams) + len(m.SourceLabels)
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if text := texts[name]; text != nil {
			given++
			checkStringMatch(field+"."+name, *text, report)
		}
	}
	if given == 0 {
		report(field, "is empty", "give headers, uri, method, authority, queryParams or sourceLabels")
	}
	for name, match := range m.Headers {
		at := join(field+".headers", name)
		checkStringMatch(at, match, report)
		if name != strings.ToLower(name) {
			report(at, "Istio wants header names in lower case", "write "+strings.ToLower(name))
		}
	}
	for name, match := range m.QueryParams {
		at := join(field+".queryParams", name)
		checkStringMatch(at, match, report)
		if match.Prefix != "" {
			report(at+".prefix", "Istio matches query parameters by exact and regex only", "write regex: "+regexp.QuoteMeta(match.Prefix)+".*")
		}
	}
}

func checkStringMatch(field string, m StringMatch, report reporter) {
	if btoi(m.Exact != "")+btoi(m.Prefix != "")+btoi(m.Regex != "") != 1 {
		report(field, "needs exactly one of exact, prefix and regex", "")
	}
	if _, err := regexp.Compile(m.Regex); err != nil {
		report(field+".regex", "is not a regular expression of RE2: "+err.Error(), "")
	}
}

func checkWeights(w *Weights, report reporter) {
	sum := 0
	for _, share := range w.Subsets {
		sum += int(share)
	}
	if len(w.Subsets) == 0 {
		report("subsets", "is empty", "give each subset its share, such as {v1: 90, v2: 10}")
	} else if sum != 100 {
		report("subsets", fmt.Sprintf("the weights of %s sum to %d", strings.Join(slices.Sorted(maps.Keys(w.Subsets)), ", "), sum),
			"they must sum to 100")
	}
}

func checkDestination(d Destination, report reporter) {
	if d.Host == "" && d.Subset == "" {
		report("to", "needs a host, a subset or both", "")
	}
}

func checkAuthorize(a *Authorize, report reporter) {
	switch {
	case a.DenyAll && len(a.Rules) > 0:
		report("rules", "is given beside denyAll", "remove one of them")
	case a.DenyAll && a.Action != "" && a.Action != "ALLOW":
		report("action", "is given beside denyAll, which allows nothing", "remove it")
	case !a.DenyAll && len(a.Rules) == 0:
		report("", "has no rules", "write rules, or denyAll: true")
	}
	for i, rule := range a.Rules {
		for k, w := range rule.When {
			if len(w.Values)+len(w.NotValues) == 0 {
				report(fmt.Sprintf("rules[%d].when[%d]", i, k), "needs values or notValues", "")
			}
		}
	}
}

func checkPartition(p *Partition, report reporter) {
	switch {
	case (p.Workload != "") == (p.To != ""):
		report("", "needs exactly one of workload and to", "write workload: reviews-v1, or from: productpage-v1 with to: reviews-v1")
	case p.To != "" && p.From == "":
		report("from", "is missing beside to", "write workload in place of to when it is about all connections")
	case p.Workload != "" && p.From != "":
		report("from", "is given beside workload", "write to in place of workload")
	}
}

func checkGateway(g *Gateway, report reporter) {
	for i, r := range g.Routes {
		field := fmt.Sprintf("routes[%d]", i)
		if r.To.Host == "" {
			report(field+".to", "needs a host", "write for instance to: {host: productpage, port: 9080}")
		}
		checkMatch(field+".match", r.Match, report)
	}
	switch encrypted := g.Protocol == "HTTPS"; {
	case encrypted && g.TLS == nil:
		report("tls", "is missing, but the protocol is HTTPS", "write tls: {credentialName: …}")
	case g.TLS == nil:
	case g.TLS.HTTPSRedirect && (encrypted || g.TLS.CredentialName != ""):
		report("tls.httpsRedirect", "is for a port without TLS, that leads to the one with it", "")
	case !g.TLS.HTTPSRedirect && g.TLS.CredentialName == "":
		report("tls", "needs a credentialName", "it names a Secret of type kubernetes.io/tls")
	case g.TLS.CredentialName != "" && g.Protocol != "" && !encrypted:
		report("protocol", g.Protocol+" is not encrypted, but tls is given", "write protocol: HTTPS, or leave it out")
	}
}
