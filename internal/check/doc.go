// Package check judges: saved records in, verdict out. It knows no clock, no network and no environment, so that the
// files of any old run give the same verdict again.
//
// A statement is a CEL expression whose numbers may have units (250ms, 2s, 5%) and which may end in a confidence:
//
//	ratio(code == 503) in [0.1, 0.95] @95%
//	overflow(httpbin) == count(code == 503)
//	delta(p50) in [1.9s, 2.1s] @95%
//	access(httpbin, version == "v2").count > 0
//
// # Measures
//
// Of the client's requests; PRED is a CEL predicate over code, latency, version, flags, flag("UO"), error, route, pod,
// attempts, start and conn, and may be left out:
//
// A request without an answer has an error and no code: it equals none, and whether it is above or below one is not known.
//
//	count(PRED) ratio(PRED) rate(PRED)      how many, what share of all, how many a second
//	p50 p75 p90 p95 p99 p999 p9999          latency percentiles; p99(PRED) of the requests that match
//	percentile(99.9, PRED)                  any percentile
//	mean(PRED) min(PRED) max(PRED)          of the latency
//	load.count load.qps load.askedQps load.seconds load.connections
//
// Of the client's proxy, as the difference between its snapshots after and before the load:
//
//	counter("NAME")                         a stat's full name, or a regular expression (it then has one of \*+?()[]{}^$)
//	gauge("NAME")                           the value after
//	cluster(HOST, "STAT", SUBSET)           over the clusters outbound|PORT|SUBSET|HOST; SUBSET may be left out
//	overflow retries timeouts perTryTimeouts ejections (HOST, SUBSET)
//	aborts() delays()                       of the fault filter
//
// Of other proxies and of the access logs; PRED is over code, path, method, version, authority, flags, flag("UO"),
// route, principal, duration and attempts:
//
//	proxy(POD or SERVICE).counter("NAME")   and .gauge("NAME")
//	elsewhere("NAME")                       over all proxies but the client's
//	elsewhere(HOST, "STAT", SUBSET)         cluster(…) over all proxies but the client's; SUBSET may be left out
//	access(SERVICE, PRED).count            inbound entries of the service's pods
//	copies(SERVICE, PRED).count             those of them that mirrors sent beside their originals
//	access(PRED).count                      outbound entries of the client's proxy
//
// delta(MEASURE) is a measure in this phase less the same in the baseline.
//
// Operators: < <= > >= == !=, in [a, b] (a closed interval), && || !, + - * /, abs(x).
//
// # Meaning
//
// Logic is Kleene's over PASS, FAIL and INCONCLUSIVE. What is absent makes a comparison INCONCLUSIVE and is never 0.
// Without a confidence a statement is about the requests that were made. With @c it is about all requests that could be
// made under these conditions, taking the requests as independent: each estimate is an interval (ratios Wilson, or
// Clopper-Pearson for few requests and for none or all; percentiles distribution-free order statistics), a comparison
// holds when it holds in the whole interval and fails when it holds nowhere in it, and several estimates in one
// statement share the error (Bonferroni). Counts and counters are exact.
package check
