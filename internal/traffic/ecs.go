package traffic

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// ECSVersion is the version of the Elastic Common Schema that documents follow.
const ECSVersion = "9.0.0"

// Document is a record as JSON with the field names of the Elastic Common Schema. What that does not have is below the names of who
// says it: istio, envoy and squall.
type Document struct {
	Timestamp string `json:"@timestamp"` // RFC 3339 with nanoseconds
	ECS       struct {
		Version string `json:"version"`
	} `json:"ecs"`
	Event     docEvent   `json:"event"`
	HTTP      *docHTTP   `json:"http,omitempty"`
	URL       *docURL    `json:"url,omitempty"`
	UserAgent *docText   `json:"user_agent,omitempty"`
	Trace     *docID     `json:"trace,omitempty"`
	Network   docNetwork `json:"network"`
	Source    docAddress `json:"source"`
	Dest      docAddress `json:"destination"`
	Service   struct {
		Origin docService `json:"origin"`
		Target docService `json:"target"`
	} `json:"service"`
	Istio  docIstio  `json:"istio"`
	Envoy  docEnvoy  `json:"envoy"`
	Squall docSquall `json:"squall"`
}

type docEvent struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Category []string `json:"category"`
	Type     []string `json:"type"`
	Dataset  string   `json:"dataset"`
	Duration int64    `json:"duration"` // ns
	Outcome  string   `json:"outcome"`
}

type docBody struct {
	Bytes int64 `json:"bytes"`
}

type docHTTP struct {
	Version string `json:"version,omitempty"`
	Request struct {
		ID     string  `json:"id,omitempty"`
		Method string  `json:"method,omitempty"`
		Body   docBody `json:"body"`
	} `json:"request"`
	Response struct {
		StatusCode int     `json:"status_code,omitempty"`
		Body       docBody `json:"body"`
	} `json:"response"`
}

type docURL struct {
	Original string `json:"original,omitempty"`
	Domain   string `json:"domain,omitempty"` // with its port, as requested
	Scheme   string `json:"scheme,omitempty"`
}

type docText struct {
	Original string `json:"original"`
}

type docID struct {
	ID string `json:"id"`
}

type docNetwork struct {
	Protocol  string `json:"protocol"`
	Transport string `json:"transport"`
}

type docAddress struct {
	Address string `json:"address,omitempty"`
	IP      string `json:"ip,omitempty"`
	Port    int    `json:"port,omitempty"`
	Bytes   int64  `json:"bytes"` // that this end sent
}

type docService struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

type docWorkload struct {
	Namespace string `json:"namespace,omitempty"`
	Workload  string `json:"workload,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Principal string `json:"principal,omitempty"`
}

type docIstio struct {
	Reporter    string      `json:"reporter"`
	Source      docWorkload `json:"source"`
	Destination docWorkload `json:"destination"`
}

type docEnvoy struct {
	Flags     []string          `json:"response_flags,omitempty"`
	Details   string            `json:"response_code_details,omitempty"`
	Route     string            `json:"route_name,omitempty"`
	Cluster   string            `json:"upstream_cluster,omitempty"`
	Attempts  int               `json:"attempts,omitempty"`
	Upstream  *int64            `json:"upstream_duration,omitempty"`   // ns
	FirstByte *int64            `json:"first_byte_duration,omitempty"` // ns
	Headers   map[string]string `json:"request_headers,omitempty"`
}

type docSquall struct {
	Run       string `json:"run,omitempty"`
	Stage     string `json:"stage,omitempty"`
	Interface string `json:"interface,omitempty"`
	Failed    bool   `json:"failed"`
	Flags     string `json:"flags,omitempty"` // all of them, in one
	Protocol  string `json:"protocol"`
	Hash      int64  `json:"hash"`
	Bucket    int    `json:"bucket"` // of the duration, for quantiles
}

// NewDocument is a record as a document. Bucket is of its duration.
func NewDocument(r *Record, bucket int) *Document {
	d := &Document{Timestamp: r.Time.UTC().Format(time.RFC3339Nano)}
	d.ECS.Version = ECSVersion
	d.Event = docEvent{ID: r.ID.String(), Kind: "event", Category: []string{"network"}, Type: []string{"connection"}, Dataset: "squall.traffic",
		Duration: int64(r.Duration), Outcome: "success"}
	if r.Failed() {
		d.Event.Outcome = "failure"
	}
	if r.Protocol != "TCP" {
		h := &docHTTP{Version: strings.TrimPrefix(r.Protocol, "HTTP/")}
		h.Request.ID, h.Request.Method, h.Request.Body.Bytes = r.RequestID, r.Method, r.BytesReceived
		h.Response.StatusCode, h.Response.Body.Bytes = r.Code, r.BytesSent
		d.HTTP = h
		d.URL = &docURL{Original: r.Path, Domain: r.Authority, Scheme: r.Scheme}
		d.Network.Protocol = "http"
	} else {
		d.Event.Category = []string{"network", "session"}
		d.Network.Protocol = "tcp"
		d.HTTP = nil
		if r.RequestID != "" {
			d.HTTP = &docHTTP{}
			d.HTTP.Request.ID = r.RequestID
		}
	}
	d.Network.Transport = "tcp"
	if r.UserAgent != "" {
		d.UserAgent = &docText{r.UserAgent}
	}
	if r.TraceID != "" {
		d.Trace = &docID{r.TraceID}
	}
	d.Source, d.Dest = newAddress(r.Source.Address, r.BytesReceived), newAddress(r.Destination.Address, r.BytesSent)
	d.Service.Origin = docService{r.Source.Service, r.Source.Version}
	d.Service.Target = docService{r.Destination.Service, r.Destination.Version}
	d.Istio = docIstio{string(r.Reporter), docWorkload{r.Source.Namespace, r.Source.Name, r.Source.Pod, r.Principal},
		docWorkload{r.Destination.Namespace, r.Destination.Name, r.Destination.Pod, ""}}
	d.Envoy = docEnvoy{Details: r.Details, Route: r.Route, Cluster: r.Cluster, Attempts: r.Attempts, Upstream: known(r.Upstream), FirstByte: known(r.FirstByte), Headers: r.Headers}
	if r.Flags != "" {
		d.Envoy.Flags = strings.Split(r.Flags, ",")
	}
	d.Squall = docSquall{r.Run, r.Stage, r.Interface, r.Failed(), r.Flags, r.Protocol, r.ID.Hash(), bucket}
	return d
}

func known(d time.Duration) *int64 {
	if d == Unknown {
		return nil
	}
	n := int64(d)
	return &n
}

func orUnknown(n *int64) time.Duration {
	if n == nil {
		return Unknown
	}
	return time.Duration(*n)
}

func newAddress(s string, bytes int64) docAddress {
	a := docAddress{Address: s, Bytes: bytes}
	if host, port, err := net.SplitHostPort(s); err == nil && net.ParseIP(host) != nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			a.IP, a.Port = host, int(n)
		}
	}
	return a
}

// Record is the record that the document was made of.
func (d *Document) Record() (r Record, err error) {
	if r.Time, err = time.Parse(time.RFC3339Nano, d.Timestamp); err != nil {
		return r, fmt.Errorf("a document's time: %w", err)
	}
	r.Time = r.Time.UTC()
	if r.ID, err = ParseID(d.Event.ID); err != nil {
		return r, fmt.Errorf("a document's id: %w", err)
	}
	r.Reporter, r.Run, r.Stage = Reporter(d.Istio.Reporter), d.Squall.Run, d.Squall.Stage
	s, t := d.Istio.Source, d.Istio.Destination
	r.Source = Workload{s.Namespace, s.Workload, d.Service.Origin.Name, d.Service.Origin.Version, s.Pod, d.Source.Address}
	r.Destination = Workload{t.Namespace, t.Workload, d.Service.Target.Name, d.Service.Target.Version, t.Pod, d.Dest.Address}
	r.Principal, r.Protocol, r.Interface = s.Principal, d.Squall.Protocol, d.Squall.Interface
	r.BytesReceived, r.BytesSent, r.Flags = d.Source.Bytes, d.Dest.Bytes, d.Squall.Flags
	if d.HTTP != nil {
		r.RequestID, r.Method, r.Code = d.HTTP.Request.ID, d.HTTP.Request.Method, d.HTTP.Response.StatusCode
	}
	if d.URL != nil {
		r.Path, r.Authority, r.Scheme = d.URL.Original, d.URL.Domain, d.URL.Scheme
	}
	if d.UserAgent != nil {
		r.UserAgent = d.UserAgent.Original
	}
	if d.Trace != nil {
		r.TraceID = d.Trace.ID
	}
	r.Duration, r.Upstream, r.FirstByte = time.Duration(d.Event.Duration), orUnknown(d.Envoy.Upstream), orUnknown(d.Envoy.FirstByte)
	r.Details, r.Route, r.Cluster, r.Attempts, r.Headers = d.Envoy.Details, d.Envoy.Route, d.Envoy.Cluster, d.Envoy.Attempts, d.Envoy.Headers
	return r, nil
}

// ParseDocument reads the JSON of a document.
func ParseDocument(text []byte) (Record, error) {
	var d Document
	if err := json.Unmarshal(text, &d); err != nil {
		return Record{}, fmt.Errorf("a document: %w", err)
	}
	return d.Record()
}
