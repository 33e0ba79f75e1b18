package load

import "math"

// Split divides a load among n workers: the connections evenly, and the calls, the warm-up and the rate in proportion to them, so
// that each connection does what it would do in the undivided load. The parts' calls add up to those of the load exactly. n is at
// least 1 and at most the number of connections.
func (s Spec) Split(n int) []Spec {
	parts := make([]Spec, n)
	upTo := 0 // connections of this part and those before it
	for i := range parts {
		p := s
		before := upTo
		upTo = s.Connections * (i + 1) / n
		p.Connections = upTo - before
		p.Requests = share(s.Requests, before, upTo, s.Connections)
		p.WarmUp = share(s.WarmUp, before, upTo, s.Connections)
		if n > 1 {
			p.QPS = s.rateOf(p.Connections)
		}
		parts[i] = p
	}
	return parts
}

// share is what of a total belongs to the connections from one up to another.
func share(total int64, from, to, all int) int64 {
	cut := func(at int) int64 {
		whole, rest := total/int64(all), total%int64(all)
		return whole*int64(at) + rest*int64(at)/int64(all)
	}
	return cut(to) - cut(from)
}

// rateOf is the rate of some of the connections. With a duration each connection makes a whole number of calls, which rounding
// must not change.
func (s Spec) rateOf(connections int) float64 {
	q := s.QPS * float64(connections) / float64(s.Connections)
	if s.Duration > 0 && q > 0 {
		each := int64(s.QPS*s.Duration.Seconds()) / int64(s.Connections)
		for int64(q*s.Duration.Seconds()) < each*int64(connections) {
			q = math.Nextafter(q, math.Inf(1))
		}
	}
	return q
}
