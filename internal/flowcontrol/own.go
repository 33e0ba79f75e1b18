package flowcontrol

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Own is what Elasticsearch itself tells of a node.
type Own struct {
	Open
	Started int64 // milliseconds of the Unix time; after another start counters have begun anew
}

// Nodes asks Elasticsearch for its nodes, by their ids. A figure that is missing is an error.
func (c *Client) Nodes(ctx context.Context) (map[string]Own, error) {
	type node struct {
		HTTP struct {
			Current *int64 `json:"current_open"`
			Total   *int64 `json:"total_opened"`
		} `json:"http"`
		JVM struct {
			Started *int64 `json:"start_time_in_millis"`
		} `json:"jvm"`
	}
	var counts, starts struct {
		Nodes map[string]node `json:"nodes"`
	}
	ask := func(path, fields string, into any) error {
		return c.call(ctx, request{method: http.MethodGet, path: path, query: url.Values{"filter_path": {fields}}}, into)
	}
	if err := errors.Join(ask("/_nodes/stats/http", "nodes.*.http.current_open,nodes.*.http.total_opened", &counts),
		ask("/_nodes/jvm", "nodes.*.jvm.start_time_in_millis", &starts)); err != nil {
		return nil, err
	}
	out := map[string]Own{}
	for id, n := range counts.Nodes {
		started := starts.Nodes[id].JVM.Started
		if n.HTTP.Current == nil || n.HTTP.Total == nil || started == nil {
			return nil, fmt.Errorf("flow control: node %s does not tell how many connections are open, or since when it runs", id)
		}
		out[id] = Own{Open{*n.HTTP.Current, *n.HTTP.Total}, *started}
	}
	return out, nil
}
