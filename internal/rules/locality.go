package rules

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	v1 "istio.io/api/networking/v1"
)

// LocalityLabel is the pod label that says where a pod is, as region/zone/subzone or with dots for the slashes. Pods without it are where
// their nodes are, which no object here tells.
const LocalityLabel = "topology.istio.io/locality"

// oldLocalityLabel is read where LocalityLabel is not there.
const oldLocalityLabel = "istio-locality"

// Locality is where a pod is: region, zone and subzone.
type Locality [3]string

// String is the locality as Istio writes it.
func (l Locality) String() string { return strings.TrimRight(strings.Join(l[:], "/"), "/") }

// LocalityOf reads the labels of a pod; ok is false when they do not say.
func LocalityOf(labels map[string]string) (l Locality, ok bool) {
	text := labels[LocalityLabel]
	if text == "" {
		text = labels[oldLocalityLabel]
	}
	if text == "" {
		return l, false
	}
	if !strings.Contains(text, "/") {
		text = strings.ReplaceAll(text, ".", "/")
	}
	copy(l[:], strings.SplitN(text, "/", 3))
	return l, true
}

// In says whether the locality is within a rule's, in which * and what is left out at the end stand for all.
func (l Locality) In(rule string) bool {
	for i, part := range strings.SplitN(rule, "/", 3) {
		if part != "*" && part != l[i] && (part != "" || i == 0) {
			return false
		}
	}
	return true
}

// distance is the priority that Istio gives pods of the other locality before failover rules: 0 is the same subzone, 3 another region.
func (l Locality) distance(o Locality) int {
	for i := range l {
		if l[i] != o[i] {
			return len(l) - i
		}
	}
	return 0
}

// Spread is how a caller's requests are spread over a cluster's pods by where they are.
type Spread struct {
	// Groups get their shares of the requests as long as their pods are healthy, and spread them over their pods as the balancer does.
	// Without a rule about localities there is one group. None at all: no pod may get any.
	Groups []Group
	Ref    Ref    // of the rule; zero when there is none
	Text   string // what the rule says
	// Unknown is why the spread cannot be told, or "".
	Unknown string
}

// Group are pods between which their place makes no difference.
type Group struct {
	Workloads []*Workload
	Share     float64
}

// Spread finds the groups. The rules are those of Istio's locality load balancing: distribute by weight, else failover by distance,
// which only is in force where pods can be ejected.
func (c Cluster) Spread(from Caller) Spread {
	even := Spread{Groups: []Group{{c.Workloads, 1}}}
	setting := c.Balancer.GetLocalityLbSetting()
	switch {
	case from.Proxy == NoProxy || setting.GetEnabled() != nil && !setting.GetEnabled().GetValue():
		return even
	case c.Balancer.GetZoneAwareLbSetting() != nil:
		return Spread{Unknown: fmt.Sprintf("%s spreads requests by zones", c.BalancerRef)}
	case len(setting.GetDistribute()) > 0:
		return c.distribute(from, setting.GetDistribute(), even)
	case c.Outlier == nil:
		return even
	case len(setting.GetFailoverPriority()) > 0:
		return Spread{Unknown: fmt.Sprintf("%s prefers pods by their labels", c.BalancerRef)}
	}
	return c.failover(from, setting.GetFailover(), even)
}

// places are where the caller and the pods are, by workload; why says which of them is not known.
func (c Cluster) places(from Caller) (own Locality, places map[*Workload]Locality, why string) {
	own, ok := LocalityOf(from.Labels)
	if !ok {
		return own, nil, "the caller's pods have no label " + LocalityLabel + ", so that they are where their node is"
	}
	places = map[*Workload]Locality{}
	for _, w := range c.Workloads {
		if places[w], ok = LocalityOf(w.Labels); !ok {
			return own, nil, fmt.Sprintf("the pods of %s have no label %s, so that they are where their node is", w.Name, LocalityLabel)
		}
	}
	return own, places, ""
}

// distribute gives localities the weights of the first entry that is for the caller's.
func (c Cluster) distribute(from Caller, list []*v1.LocalityLoadBalancerSetting_Distribute, even Spread) Spread {
	own, places, why := c.places(from)
	if why != "" {
		return Spread{Unknown: fmt.Sprintf("%s is about localities, and %s", c.BalancerRef, why)}
	}
	for i, d := range list {
		if !own.In(d.GetFrom()) {
			continue
		}
		out := Spread{Ref: c.BalancerRef.At(".localityLbSetting.distribute[%d]", i), Text: "from " + d.GetFrom()}
		var total float64
		taken := map[*Workload]string{}
		for _, to := range slices.Sorted(maps.Keys(d.GetTo())) {
			weight := d.GetTo()[to]
			out.Text += fmt.Sprintf(" %d to %s", weight, to)
			var within []*Workload
			for _, w := range c.Workloads {
				if !places[w].In(to) {
					continue
				}
				if taken[w] != "" {
					return Spread{Unknown: fmt.Sprintf("%s: both %s and %s are for %s, and Istio takes any of them", out.Ref, taken[w], to, places[w])}
				}
				taken[w] = to
				within = append(within, w)
			}
			out.Groups = append(out.Groups, weighed(within, places, weight)...)
		}
		for _, g := range out.Groups {
			total += g.Share
		}
		for i := range out.Groups {
			out.Groups[i].Share /= total
		}
		return out
	}
	return even
}

// weighed divides a weight among the localities of the pods by how many they have, rounded up as Istio does.
func weighed(workloads []*Workload, places map[*Workload]Locality, weight uint32) []Group {
	by := map[Locality][]*Workload{}
	var order []Locality
	for _, w := range workloads {
		if w.Replicas == 0 {
			continue
		}
		if by[places[w]] == nil {
			order = append(order, places[w])
		}
		by[places[w]] = append(by[places[w]], w)
	}
	var out []Group
	for _, l := range order {
		share := math.Ceil(float64(uint32(Pods(by[l]))*weight) / float64(Pods(workloads)))
		if share > 0 {
			out = append(out, Group{by[l], share})
		}
	}
	return out
}

// failover sends all to the nearest pods. Where nobody says where it is, all are taken to be in one place.
func (c Cluster) failover(from Caller, list []*v1.LocalityLoadBalancerSetting_Failover, even Spread) Spread {
	own, places, why := c.places(from)
	if why != "" {
		_, labelled := LocalityOf(from.Labels)
		if labelled || slices.ContainsFunc(c.Workloads, func(w *Workload) bool { _, ok := LocalityOf(w.Labels); return ok }) {
			return Spread{Unknown: fmt.Sprintf("%s prefers near pods, and %s", c.OutlierRef, why)}
		}
		return even
	}
	target := ""
	for _, f := range list {
		if f.GetFrom() == own[0] {
			target = f.GetTo()
			break
		}
	}
	best, near := math.MaxInt, []*Workload(nil)
	for _, w := range c.Workloads {
		d := own.distance(places[w])
		if d == len(own) && target != "" && places[w][0] != target {
			d++
		}
		switch {
		case w.Replicas == 0 || d > best:
			continue
		case d < best:
			best, near = d, nil
		}
		near = append(near, w)
	}
	out := Spread{Groups: []Group{{near, 1}}, Ref: c.OutlierRef, Text: fmt.Sprintf("all to the pods nearest to %s", own)}
	if Pods(near) == 0 || Pods(near) == Pods(c.Workloads) {
		return even
	}
	return out
}
