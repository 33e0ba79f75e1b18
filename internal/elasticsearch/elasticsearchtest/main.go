// Package elasticsearchtest gives the tests of a package a real Elasticsearch.
package elasticsearchtest

import (
	"context"
	"flag"
	"log"
	"os"
	"testing"
	"time"

	"squall/internal/elasticsearch"
	"squall/internal/toolchain"
)

// within is how long the download and the start may take.
const within = 10 * time.Minute

// Main runs the tests with one node for all of them, as it takes half a minute to start, and returns their exit code. use gets the node,
// or nil under -short. SQUALL_TEST_ELASTICSEARCH is the URL of one that scripts/elasticsearch started: for many runs of the tests.
func Main(m *testing.M, use func(*elasticsearch.Server)) int {
	flag.Parse()
	var err error
	var code int
	switch at := os.Getenv("SQUALL_TEST_ELASTICSEARCH"); {
	case testing.Short():
		code = m.Run()
	case at != "":
		use(&elasticsearch.Server{URL: at})
		code = m.Run()
	default:
		code, err = withNode(m, use)
	}
	if err != nil {
		log.Print(err)
		return 1
	}
	return code
}

func withNode(m *testing.M, use func(*elasticsearch.Server)) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	opts := elasticsearch.Options{Settings: map[string]string{
		"action.destructive_requires_name": "false", "cluster.routing.allocation.disk.threshold_enabled": "false",
	}}
	err = elasticsearch.With(ctx, opts, toolchain.Lines(os.Stderr), func(s *elasticsearch.Server) error {
		use(s)
		code = m.Run()
		return nil
	})
	return code, err
}
