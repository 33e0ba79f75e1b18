package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"strconv"

	"squall/internal/traffic"
	"squall/internal/traffic/store"
)

// maxContexts are kept in memory; then they are forgotten and found or made anew.
const maxContexts = 100_000

// shared is what many records have in common beside their labels.
type shared struct {
	Authority      string `json:"authority,omitempty"`
	Scheme         string `json:"scheme,omitempty"`
	Details        string `json:"details,omitempty"`
	UserAgent      string `json:"userAgent,omitempty"`
	Principal      string `json:"principal,omitempty"`
	Route          string `json:"route,omitempty"`
	Cluster        string `json:"cluster,omitempty"`
	SourceService  string `json:"sourceService,omitempty"`
	SourceVersion  string `json:"sourceVersion,omitempty"`
	SourcePod      string `json:"sourcePod,omitempty"`
	SourceIP       string `json:"sourceIP,omitempty"`
	DestinationPod string `json:"destinationPod,omitempty"`
	Destination    string `json:"destination,omitempty"` // address
	Headers        string `json:"headers,omitempty"`     // JSON
}

// ids are of what records share. Those made in a transaction count when it is committed.
type ids struct {
	labels, newLabels     map[store.Series]int64
	contexts, newContexts map[shared]int64
}

func newIDs() *ids {
	i := &ids{labels: map[store.Series]int64{}, contexts: map[shared]int64{}}
	i.forget()
	return i
}

func (i *ids) forget() {
	i.newLabels, i.newContexts = map[store.Series]int64{}, map[shared]int64{}
}

func (i *ids) keep() {
	maps.Copy(i.labels, i.newLabels)
	if len(i.contexts)+len(i.newContexts) > maxContexts {
		clear(i.contexts)
	}
	maps.Copy(i.contexts, i.newContexts)
	i.forget()
}

// series is the id of labels, the same in all processes.
func (i *ids) series(ctx context.Context, tx *sql.Tx, s store.Series) (int64, error) {
	id, ok := i.labels[s]
	if !ok {
		id, ok = i.newLabels[s]
	}
	if ok {
		return id, nil
	}
	key, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("a record's labels: %w", err)
	}
	_, err = tx.ExecContext(ctx, "INSERT OR IGNORE INTO series VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", string(key), s.Run, s.Stage, string(s.Reporter),
		s.SourceNamespace, s.Source, s.Namespace, s.Service, s.Workload, s.Version, s.Protocol, s.Method, s.Interface, s.Code, s.Flags, s.Failed)
	if err != nil {
		return 0, fmt.Errorf("store a record's labels: %w", err)
	}
	if err := tx.QueryRowContext(ctx, "SELECT id FROM series WHERE labels = ?", string(key)).Scan(&id); err != nil {
		return 0, fmt.Errorf("read a record's labels back: %w", err)
	}
	i.newLabels[s] = id
	return id, nil
}

// context is the id of what a record shares with others. The same may have several.
func (i *ids) context(ctx context.Context, tx *sql.Tx, r *traffic.Record) (int64, error) {
	s := shared{
		Authority: r.Authority, Scheme: r.Scheme, Details: r.Details, UserAgent: r.UserAgent, Principal: r.Principal, Route: r.Route, Cluster: r.Cluster,
		SourceService: r.Source.Service, SourceVersion: r.Source.Version, SourcePod: r.Source.Pod, SourceIP: host(r.Source.Address),
		DestinationPod: r.Destination.Pod, Destination: r.Destination.Address,
	}
	if len(r.Headers) > 0 {
		text, err := json.Marshal(r.Headers)
		if err != nil {
			return 0, fmt.Errorf("a record's headers: %w", err)
		}
		s.Headers = string(text)
	}
	id, ok := i.contexts[s]
	if !ok {
		id, ok = i.newContexts[s]
	}
	if ok {
		return id, nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("what a record shares: %w", err)
	}
	done, err := tx.ExecContext(ctx, "INSERT INTO contexts (fields) VALUES (?)", string(text))
	if err != nil {
		return 0, fmt.Errorf("store what a record shares: %w", err)
	}
	if id, err = done.LastInsertId(); err != nil {
		return 0, fmt.Errorf("store what a record shares: %w", err)
	}
	i.newContexts[s] = id
	return id, nil
}

// host and port are the parts of an address; an address without a port is a host.
func host(address string) string {
	if port(address) == 0 {
		return address
	}
	h, _, _ := net.SplitHostPort(address) // port has split it
	return h
}

func port(address string) int {
	h, p, err := net.SplitHostPort(address)
	if err != nil || net.JoinHostPort(h, p) != address || strconv.Itoa(number(p)) != p {
		return 0
	}
	return number(p)
}

func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

func address(host string, port int) string {
	if port == 0 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
