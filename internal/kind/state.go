package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"squall/internal/toolchain"
)

// phase is how far the making of a cluster has come.
type phase string

const (
	making  phase = "making"  // begun; a cluster that is found so was left half made
	made    phase = "made"    // to the end
	foreign phase = "foreign" // by somebody else
)

// state is what Squall knows of a cluster's making.
type state struct {
	Phase phase `json:"phase"`
}

func (c *cluster) stateFile() string { return filepath.Join(c.Dir, c.Name+".json") }

// readState returns the zero state for a cluster that Squall knows nothing of.
func (c *cluster) readState() (state, error) {
	text, err := os.ReadFile(c.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("state of the cluster %s: %w", c.Name, err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return state{}, fmt.Errorf("state of the cluster %s: %s: %w: remove the file", c.Name, c.stateFile(), err)
	}
	return s, nil
}

// writeState writes the state as a whole, and lets it reach the disk: what is begun has to be known after a loss of power.
func (c *cluster) writeState(s state) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("state of the cluster %s: %w", c.Name, err)
		}
	}()
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.Dir, c.Name+".json.")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), c.stateFile())
}

// lock waits until no other run works at the cluster.
func (c *cluster) lock(ctx context.Context) (unlock func() error, err error) {
	unlock, err = toolchain.Lock(ctx, filepath.Join(c.Dir, c.Name+".lock"), 0o600, func() func(error) {
		return toolchain.Track(c.Progress, c.update("waiting for another run that works at the cluster "+c.Name), nothing)
	})
	if err != nil {
		return nil, fmt.Errorf("lock of the cluster %s: %w", c.Name, err)
	}
	return unlock, nil
}

// removeFiles removes files that may not be there.
func removeFiles(paths ...string) error {
	var errs []error
	for _, p := range paths {
		if err := os.Remove(p); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// update is an activity of this package's.
func (c *cluster) update(activity string) toolchain.Update {
	return toolchain.Update{Tool: toolchain.Kind, Activity: activity}
}

func nothing() string { return "" }
