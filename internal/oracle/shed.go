package oracle

import (
	"fmt"

	"squall/internal/rules"
)

// limits are those of a circuit breaker beyond which it sheds; 0 is none. Calls beyond maxConnections wait.
type limits struct{ pending, requests int }

func limitsOf(cluster rules.Cluster) limits {
	pool := cluster.Pool
	return limits{int(pool.GetHttp().GetHttp1MaxPendingRequests()), int(pool.GetHttp().GetHttp2MaxRequests())}
}

// never says whether so many calls at once can never be shed. Each may have to wait for its connection at the same time as all
// others, so that the connections do not count towards it.
func (l limits) never(calls int) bool {
	return (l.pending == 0 || calls <= l.pending) && (l.requests == 0 || calls <= l.requests)
}

// shedding is why a circuit breaker may shed calls, or "". At the load's own proxy it is a matter of the load, and noted.
func (e *evaluation) shedding(c call, cluster rules.Cluster) string {
	l := limitsOf(cluster)
	if c.caller.Proxy == rules.NoProxy || l.pending == 0 && l.requests == 0 || e.req.Connections > 0 && l.never(e.req.Connections) {
		return ""
	}
	if c.depth == 0 && e.req.Connections > 0 {
		e.breaker = &breaker{cluster, l}
		return ""
	}
	return fmt.Sprintf("%s: calls at once may be more than the limits take; how many are shed depends on how long they last", cluster.PoolRef)
}

// breaker is a circuit breaker that may shed calls of the load.
type breaker struct {
	cluster rules.Cluster
	limits  limits
}
