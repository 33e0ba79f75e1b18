// Package record is what happened in a run, on disk: the boundary between doing and judging. Everything that a verdict
// rests on is a file below the run's folder, so that any old run can be judged and rendered again.
//
// A run's folder:
//
//	run.json                          Manifest: id, scenario, seed, versions, start, end, how it ended
//	spec.json                         what is judged: check.Spec, written before anything starts
//	plan.json                         the compiled plan with the exact objects
//	journal.ndjson                    write-ahead undo journal
//	events.ndjson                     Event: the timeline
//	proxies.json                      Proxy: all pods that had a sidecar
//	objects.json                      Object: a list of what the run created, changed and restored
//	phases/PHASE/proxies.json         Proxy: those that were there while the phase's load ran
//	phases/PHASE/effects.json         Effect: what steps did to the pods of workloads
//	phases/PHASE/traffic.json         Traffic: what the store of interface-traffic records has
//	records.db                        that store, where it is SQLite
//	traffic.html                      a page of it
//	phases/PHASE/load.json            Load: what was asked and what was achieved
//	phases/PHASE/requests.ndjson      Request: one line a call, as the client saw it
//	phases/PHASE/access/POD.ndjson    Access: one line an access log entry of that pod's proxy
//	phases/PHASE/stats/POD.before.json, POD.after.json   Stats
//	proxies/POD/config.{before,during,after}.json        Envoy's own config dump
//	logs/PROCESS.log                  output of each process
//	result.json, junit.xml, report.html
package record

import "time"

// How a run ended: the values of Manifest.Ended.
const (
	Completed   = "completed"
	Halted      = "halted"
	Interrupted = "interrupted"
	Broken      = "error"    // Manifest.Error says why
	Lost        = "lost"     // calls of the load; Manifest.Error says why
	Reverted    = "reverted" // somebody else took a change back; Manifest.Error says who
)

// Manifest identifies a run. It is written when the run starts and replaced when it ends; a manifest without End is
// that of a run that was killed.
type Manifest struct {
	RunID    string            `json:"runId"`
	Scenario string            `json:"scenario"`
	File     string            `json:"file,omitempty"` // the scenario's file
	Env      string            `json:"env"`            // local, kind or cluster
	Seed     int64             `json:"seed"`
	Versions map[string]string `json:"versions"` // squall, go, istiod, envoy, fortio, kernel
	Start    time.Time         `json:"start"`
	End      *time.Time        `json:"end,omitempty"`
	// Ended says how; empty until then.
	Ended  string `json:"ended,omitempty"`
	Signal string `json:"signal,omitempty"` // SIGINT, SIGTERM or SIGHUP, when interrupted
	Error  string `json:"error,omitempty"`  // why the run broke off; the verdict is then ERROR
	// Rollback is empty until the rollback was tried.
	Rollback Rollback `json:"rollback"`
}

// Rollback is what the rollback did and whether it was verified.
type Rollback struct {
	Tried bool `json:"tried"`
	// Objects, Proxies and Baseline are the three parts of the verification. An empty string is "not verified";
	// "ok" is verified; anything else is what was wrong.
	Objects  string   `json:"objects,omitempty"`
	Proxies  string   `json:"proxies,omitempty"`
	Baseline string   `json:"baseline,omitempty"`
	Errors   []string `json:"errors,omitempty"`
	Seconds  float64  `json:"seconds"`
	// Forgotten says that somebody gave the rollback up: the cluster is gone, or what others have changed meanwhile is to stay.
	Forgotten bool `json:"forgotten,omitempty"`
}

// Event is a point or a span on the timeline. Times are seconds since Manifest.Start on the monotonic clock.
type Event struct {
	At    float64        `json:"at"`
	Took  float64        `json:"took,omitempty"`
	Phase string         `json:"phase,omitempty"`
	Kind  string         `json:"kind"` // mesh, apply, live, load, check, gate, halt, rollback, error, process
	Text  string         `json:"text"`
	Data  map[string]any `json:"data,omitempty"`
}

// Request is one call of the load generator as the client saw it.
type Request struct {
	Start   float64 `json:"t"`             // seconds since Manifest.Start
	Latency float64 `json:"lat"`           // seconds
	Code    int     `json:"code"`          // HTTP status, or gRPC status for gRPC loads; 0 when Error is set and no answer came
	Conn    int     `json:"conn"`          // number of the connection, from 0
	Bytes   int64   `json:"bytes"`         // of the answer
	ID      string  `json:"id,omitempty"`  // x-request-id of the answer: the join with Access
	Version string  `json:"ver,omitempty"` // the version header, where the load names one
	// Found is how often each text that the load looks for is in the answer: "black=0 star=9", or "?" when the answer was too big.
	// Empty when nothing is looked for or no whole answer came.
	Found string `json:"found,omitempty"`
	Error string `json:"err,omitempty"` // refused, reset, timeout, eof, canceled, dns, tls or other
	// Late is how many seconds after its time on the load's schedule the call started. 0 for a load without a QPS, or one that
	// leaves late calls out: those have no schedule that a call could miss.
	Late   float64 `json:"late,omitempty"`
	Worker int     `json:"w,omitempty"` // place in Load.Workers of the worker that made it
}

// Access is one access log entry of a proxy. Squall sets the proxies' log format so that the keys are these.
type Access struct {
	Start      time.Time `json:"start"`
	Duration   float64   `json:"duration_ms"` // milliseconds, whole ones: Envoy's %DURATION%
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	Authority  string    `json:"authority"`
	Code       int       `json:"code"`
	Flags      string    `json:"flags"` // Envoy's short response flags, comma separated; "-" is none
	Details    string    `json:"details"`
	Route      string    `json:"route"`
	Cluster    string    `json:"upstream_cluster"` // outbound|8000|v1|httpbin.ns.svc.cluster.local, or inbound|8080||
	Upstream   string    `json:"upstream_host"`    // ip:port
	Downstream string    `json:"downstream"`       // ip:port of the caller
	Principal  string    `json:"principal"`        // the caller's SPIFFE id, where mTLS was used
	RequestID  string    `json:"request_id"`
	Attempts   int       `json:"attempts"`
	BytesSent  int64     `json:"bytes_sent"`
	// Load is the mark of the load that made the request, where its generator marks them.
	Load string `json:"load,omitempty"`
	// Micros are the microseconds from the request's first byte to the answer's last one, where the proxy was told to measure them and
	// the answer was whole; else 0.
	Micros float64 `json:"duration_us,omitempty"`
}

// Stats is a snapshot of a proxy's counters and gauges by Envoy's full stat name.
type Stats map[string]int64

// Proxy is a pod that has a sidecar or is a gateway, as it was during the run.
type Proxy struct {
	Pod       string            `json:"pod"`
	Namespace string            `json:"namespace"`
	IP        string            `json:"ip"`
	Labels    map[string]string `json:"labels"`
	Services  []string          `json:"services"`           // short names of the services whose selector matches the pod
	Workload  string            `json:"workload,omitempty"` // the Deployment that it is of
	Client    bool              `json:"client"`             // the load generator's own
	Gateway   bool              `json:"gateway,omitempty"`  // the pod is nothing but a proxy: a gateway
	// The rest is about one phase. Joined is that the proxy started while the load ran, with counters from 0. Ended is why it did not
	// last as long as the load, so that what it counted and logged is not known. Held is why it stood still all the time, so
	// that it counted and logged nothing.
	Joined bool   `json:"joined,omitempty"`
	Ended  string `json:"ended,omitempty"`
	Held   string `json:"held,omitempty"`
}

// Load is what one phase's load asked for and achieved.
type Load struct {
	URL         string  `json:"url"`
	Protocol    string  `json:"protocol"` // http/1.1, h2 or grpc
	Connections int     `json:"connections"`
	Direct      bool    `json:"direct,omitempty"` // past the load generator's proxy, or without one
	AskedQPS    float64 `json:"askedQps"`         // 0: as fast as it can
	Asked       int64   `json:"asked"`            // requests asked for; 0 when the load is by duration
	// Scheduled says that each call had a time at which it was meant to start, from which Request.Late counts.
	Scheduled   bool    `json:"scheduled,omitempty"`
	Start       float64 `json:"start"`   // seconds since Manifest.Start, after the warm-up
	Seconds     float64 `json:"seconds"` // how long it took
	Count       int64   `json:"count"`   // requests that were finished and recorded
	Cut         int64   `json:"cut"`     // requests cut off by the end or by cancellation: neither counted nor recorded
	WarmUp      int64   `json:"warmUp"`  // requests before Start: neither counted nor recorded
	QPS         float64 `json:"qps"`     // achieved
	Interrupted string  `json:"interrupted,omitempty"`
	Seed        int64   `json:"seed"`
	// Generator is what made the calls, nil when it was Squall itself.
	Generator *Generator `json:"generator,omitempty"`
	// Errors has the full text of the first error of each kind of Request.Error.
	Errors map[string]string `json:"errors,omitempty"`
	// Workers are the pods that made the calls, when there is more than one or they are not Squall's own process.
	Workers []WorkerLoad `json:"workers,omitempty"`
	// Lost says why nothing can be judged by the load: a worker that it could not do without was lost, a generator that is not Squall's
	// own counted other calls than its proxy logged, or the changes that were to come under it were live only when it was over.
	Lost string `json:"lost,omitempty"`
	// Complete says that each proxy's access log holds as many entries as its own counters say; else what is missing.
	Complete string `json:"complete,omitempty"` // "ok", or what is missing
}

// Generator is a load generator that is not Squall's own, and what it said itself. The load's requests are made of its proxy's access
// log then, with that one's times.
type Generator struct {
	Name    string `json:"name"` // fortio
	Version string `json:"version"`
	// Codes are the calls that it counted, by HTTP status; -1 are those that got no answer.
	Codes map[int]int64 `json:"codes"`
	Mean  float64       `json:"mean"` // seconds that a call took, by its own clock
	Max   float64       `json:"max"`  // seconds
}

// WorkerLoad is one worker's part of a load.
type WorkerLoad struct {
	Pod     string  `json:"pod"`
	Count   int64   `json:"count"`
	QPS     float64 `json:"qps"`
	Start   float64 `json:"start"`         // seconds since Manifest.Start
	Seconds float64 `json:"seconds"`       // how long it took
	P50     float64 `json:"p50,omitempty"` // seconds, of all its calls; 0 when it made none
	P99     float64 `json:"p99,omitempty"`
	// Clock is by how many seconds its times may be wrong beside the others'; 0 for a worker that shares Squall's clock.
	Clock float64 `json:"clock,omitempty"`
	Lost  string  `json:"lost,omitempty"` // why it was lost; its calls are those that it told of before
}

// Sample is a Request joined with the client's proxy's access log entry of the same request id.
type Sample struct {
	Request
	Flags    []string // response flags of the client's proxy
	Route    string
	Upstream string // ip:port that answered, "" for an answer that the proxy made itself
	Pod      string // the pod that answered, where known
	Answered string // version of the pod that answered (its label "version"), else the version header
	Attempts int
	Joined   bool // whether an access log entry was found
}

// Object is one object that the run created, changed or restored.
type Object struct {
	Phase  string `json:"phase"`
	Action string `json:"action"` // created, changed, restored, or what was done to a pod: killed
	Kind   string `json:"kind"`
	Name   string `json:"name"`             // namespace/name
	Before string `json:"before,omitempty"` // YAML; empty when there was none
	After  string `json:"after,omitempty"`  // YAML; empty when there is none
}
