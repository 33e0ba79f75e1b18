package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"squall/internal/proc"
	"squall/internal/toolchain"
)

// With runs a node for as long as use does. It fetches Elasticsearch where opts.Home is empty; without opts.Dir the node has a folder of its
// own, which is gone afterwards.
func With(ctx context.Context, opts Options, progress func(toolchain.Update), use func(*Server) error) (err error) {
	if opts.Home == "" {
		root, err := toolchain.FindRoot(".")
		if err != nil {
			return err
		}
		if opts.Home, err = Fetch(ctx, root, progress); err != nil {
			return err
		}
	}
	if opts.Dir == "" {
		if opts.Dir, err = os.MkdirTemp("", "squall-elasticsearch-"); err != nil {
			return fmt.Errorf("start Elasticsearch: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(opts.Dir)) }()
		if err := os.Chmod(opts.Dir, 0o755); err != nil { // it may run as another user, who has to pass through
			return fmt.Errorf("start Elasticsearch: %w", err)
		}
	}
	group := proc.NewGroup(nil)
	defer func() { err = errors.Join(err, group.StopAll(context.WithoutCancel(ctx))) }()
	server, err := Start(ctx, group, opts)
	if err != nil {
		return err
	}
	return use(server)
}
