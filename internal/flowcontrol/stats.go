package flowcontrol

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Node is what one node's flow control counted since the node started: nothing takes a counter back to 0 but a restart.
type Node struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	Host string    `json:"host"`
	At   time.Time `json:"at"` // of the counts, by the node's clock

	Transport Connections    `json:"transport"`
	HTTP      Connections    `json:"http"`
	Memory    Memory         `json:"memory"`
	CPU       CPU            `json:"cpu"`
	Addresses []AddressCount `json:"ip_address"`
	URLs      []URLCount     `json:"url_sample"`
}

// Connections are of one port.
type Connections struct {
	ConcurrentReq      int64 `json:"concurrent_req"` // open now, without those of addresses that are let through and of the cluster's nodes
	RejectedConcurrent int64 `json:"rejected_concurrent"`
	RejectedNew        int64 `json:"rejected_new"`
	RejectedDeny       int64 `json:"rejected_deny"`
}

// Memory are the requests that memory control decided about.
type Memory struct {
	Allow    int64 `json:"memory_allow"`
	Rejected int64 `json:"memory_rejected"`
}

// CPU are the requests that CPU control refused.
type CPU struct {
	Rejected int64 `json:"rejected_cpu"`
}

// AddressCount is how many requests came from an address, as the service writes it: with a slash before it.
type AddressCount struct {
	IP    string `json:"ip"`
	Count int64  `json:"count"`
}

// URLCount is how often a URL was among the sampled requests.
type URLCount struct {
	URL    string `json:"url"`
	Method string `json:"method"`
	Remote string `json:"remote_address"`
	Count  int64  `json:"count"`
}

// counter is a counter by its documented name.
type counter struct {
	name string
	of   func(*Node) *int64
}

func counters() []counter {
	out := []counter{
		{"memory.memory_allow", func(n *Node) *int64 { return &n.Memory.Allow }},
		{"memory.memory_rejected", func(n *Node) *int64 { return &n.Memory.Rejected }},
		{"cpu.rejected_cpu", func(n *Node) *int64 { return &n.CPU.Rejected }},
	}
	for port, of := range map[string]func(*Node) *Connections{
		"http": func(n *Node) *Connections { return &n.HTTP }, "transport": func(n *Node) *Connections { return &n.Transport },
	} {
		out = append(out,
			counter{port + ".concurrent_req", func(n *Node) *int64 { return &of(n).ConcurrentReq }},
			counter{port + ".rejected_concurrent", func(n *Node) *int64 { return &of(n).RejectedConcurrent }},
			counter{port + ".rejected_new", func(n *Node) *int64 { return &of(n).RejectedNew }},
			counter{port + ".rejected_deny", func(n *Node) *int64 { return &of(n).RejectedDeny }},
		)
	}
	slices.SortFunc(out, func(a, b counter) int { return cmp.Compare(a.name, b.name) })
	return out
}

// CounterNames are the names that Counter knows, such as http.rejected_concurrent, sorted.
func CounterNames() []string {
	var out []string
	for _, c := range counters() {
		out = append(out, c.name)
	}
	return out
}

// Counter is a counter by its documented name; false where there is no such name.
func (n *Node) Counter(name string) (int64, bool) {
	for _, c := range counters() {
		if c.name == name {
			return *c.of(n), true
		}
	}
	return 0, false
}

// statsAnswer is the service's answer.
type statsAnswer struct {
	Count struct {
		Failed   int `json:"failed"`
		Failures []struct {
			Reason string `json:"reason"`
		} `json:"failures"`
	} `json:"_nodes"`
	Nodes map[string]struct {
		Name        string          `json:"name"`
		Host        string          `json:"host"`
		Timestamp   int64           `json:"timestamp"`
		FlowControl json.RawMessage `json:"flow_control"`
	} `json:"nodes"`
}

// Stats are the counts of the nodes that a name, an id, or another of Elasticsearch's filters of nodes stands for, sorted by name; of all
// nodes where it is empty. A node that did not answer, or an answer without one of the counters, is an error: it does not mean 0.
func (c *Client) Stats(ctx context.Context, node string) ([]Node, error) {
	path, err := nodesPath(node, "/stats/filter")
	if err != nil {
		return nil, err
	}
	var answer statsAnswer
	if err := c.call(ctx, request{method: http.MethodGet, path: path}, &answer); err != nil {
		var refused *Error
		if errors.As(err, &refused) && (refused.Status == http.StatusBadRequest || refused.Status == http.StatusNotFound) {
			return nil, fmt.Errorf("%w\nthis service does not seem to have flow control of version 1: it is asked for at %s", err, path)
		}
		return nil, err
	}
	if answer.Count.Failed > 0 {
		why := "it does not say why"
		if f := answer.Count.Failures; len(f) > 0 {
			why = f[0].Reason
		}
		return nil, fmt.Errorf("flow control: %d nodes did not answer: %s", answer.Count.Failed, why)
	}
	if len(answer.Nodes) == 0 {
		return nil, fmt.Errorf("flow control: no node of %s is called %q", c.at.Host, node)
	}
	var out []Node
	for id, n := range answer.Nodes {
		one := Node{ID: id, Name: n.Name, Host: n.Host, At: time.UnixMilli(n.Timestamp)}
		if err := one.decode(n.FlowControl); err != nil {
			return nil, fmt.Errorf("flow control: node %s: %w", cmp.Or(n.Name, id), err)
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

// nodesPath is a path below the nodes that a filter stands for.
func nodesPath(node, rest string) (string, error) {
	if strings.ContainsAny(node, "/?#") || node == "." || node == ".." {
		return "", fmt.Errorf("flow control: %q is no name of a node", node)
	}
	if node != "" {
		node = "/" + node
	}
	return "/_nodes" + node + rest, nil
}

// decode reads the counts, all of which have to be there.
func (n *Node) decode(raw json.RawMessage) error {
	var groups map[string]json.RawMessage
	if raw == nil || json.Unmarshal(raw, &groups) != nil || groups == nil {
		return errors.New("it tells nothing of its flow control")
	}
	for _, c := range counters() {
		group, name, _ := strings.Cut(c.name, ".")
		var values map[string]json.RawMessage
		var value *int64
		if json.Unmarshal(groups[group], &values) == nil {
			if err := json.Unmarshal(values[name], &value); err != nil && values[name] != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		if value == nil {
			return fmt.Errorf("its flow control has no %s", c.name)
		}
		*c.of(n) = *value
	}
	for name, into := range map[string]any{"ip_address": &n.Addresses, "url_sample": &n.URLs} {
		if raw, ok := groups[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// Open are the HTTP connections of one node as Elasticsearch itself counts them, with those that flow control leaves out.
type Open struct{ Current, Total int64 }

// Open asks Elasticsearch for the connections of one node. More or fewer nodes than one are an error.
func (c *Client) Open(ctx context.Context, node string) (Open, error) {
	path, err := nodesPath(node, "/stats/http")
	if err != nil {
		return Open{}, err
	}
	var answer struct {
		Nodes map[string]struct {
			HTTP struct {
				Current *int64 `json:"current_open"`
				Total   *int64 `json:"total_opened"`
			} `json:"http"`
		} `json:"nodes"`
	}
	query := url.Values{"filter_path": {"nodes.*.http.current_open,nodes.*.http.total_opened"}}
	if err := c.call(ctx, request{method: http.MethodGet, path: path, query: query}, &answer); err != nil {
		return Open{}, err
	}
	if len(answer.Nodes) != 1 {
		return Open{}, fmt.Errorf("flow control: %q stands for %d nodes of %s, and one is wanted", node, len(answer.Nodes), c.at.Host)
	}
	for _, n := range answer.Nodes {
		if n.HTTP.Current == nil || n.HTTP.Total == nil {
			break
		}
		return Open{*n.HTTP.Current, *n.HTTP.Total}, nil
	}
	return Open{}, fmt.Errorf("flow control: node %q does not tell how many connections are open", node)
}
