package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	downWithin = 30 * time.Second // from SIGTERM to SIGKILL, and from there to giving up
	downPoll   = 10 * time.Millisecond
)

// downed is what down did to one mesh.
type downed struct {
	ID     string `json:"id"`
	PID    int    `json:"pid"`
	Was    string `json:"was"`             // up, or gone when its process had ended before
	Error  string `json:"error,omitempty"` // why it had ended
	Killed bool   `json:"killed,omitempty"`
}

func (a *app) downCommand() *cobra.Command {
	var all bool
	var to format
	c := &cobra.Command{
		Use: "down [MESH…]", Short: "End meshes of 'squall up'; the only one when none is named", ValidArgsFunction: completeMeshes,
		Long: "End meshes of 'squall up' and wait for their end. What is left of a mesh whose process has ended is removed. A process is\n" +
			"signalled only if it is the very one that started the mesh.",
		RunE: func(c *cobra.Command, args []string) error {
			meshes, damaged, err := chooseMeshes(args, all)
			if err != nil {
				return invalid(err)
			}
			list := []downed{}
			errs := []error{damaged}
			for _, m := range meshes {
				d, err := m.end(c.Context())
				if err != nil {
					errs = append(errs, fmt.Errorf("mesh %s: %w", m.ID, err))
					continue
				}
				list = append(list, d)
			}
			if err := errors.Join(append(errs, a.printDowned(list, errors.Join(errs...) != nil, to))...); err != nil {
				return environment(err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "end all meshes")
	output(c, &to)
	return c
}

func (a *app) printDowned(list []downed, failed bool, to format) error {
	if to == asJSON {
		return a.printJSON(list)
	}
	if len(list) == 0 && !failed {
		return a.println("no mesh is up")
	}
	for _, d := range list {
		text := fmt.Sprintf("mesh %s is down", d.ID)
		switch {
		case d.Error != "":
			text = fmt.Sprintf("mesh %s had ended: %s", d.ID, d.Error)
		case d.Was == "gone":
			text = fmt.Sprintf("mesh %s had ended: its process %d was gone", d.ID, d.PID)
		case d.Killed:
			text += fmt.Sprintf(", killed after %s", downWithin)
		}
		if err := a.println(text); err != nil {
			return err
		}
	}
	return nil
}

// chooseMeshes are those named, or all, or the only one. What keeps others from being read does not keep these from their end; with all
// it is damaged, to be told after that.
func chooseMeshes(ids []string, all bool) (chosen []meshState, damaged, err error) {
	have, unread := listMeshes()
	switch {
	case all && len(ids) > 0:
		return nil, nil, errors.New("name meshes, or give --all")
	case all:
		return have, unread, nil
	case len(ids) == 0 && len(have) > 1:
		return nil, nil, fmt.Errorf("%d meshes are there: %s; name one, or give --all", len(have), meshNames(have))
	case len(ids) == 0:
		return have, nil, unread
	}
	for _, id := range ids {
		if err := checkMeshID(id); err != nil {
			return nil, nil, err
		}
		m, err := readMesh(id)
		switch {
		case errors.Is(err, fs.ErrNotExist) && len(have) == 0:
			return nil, nil, fmt.Errorf("no mesh %s: none is up", id)
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, fmt.Errorf("no mesh %s: there is %s", id, meshNames(have))
		case err != nil:
			return nil, nil, err
		}
		chosen = append(chosen, m)
	}
	return chosen, nil, nil
}

func meshNames(list []meshState) string {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = m.ID
	}
	return strings.Join(names, ", ")
}

// end asks the mesh's process to end it, waits, and removes what it leaves. SIGKILL is the last resort: the children die with it.
func (m meshState) end(ctx context.Context) (downed, error) {
	out := downed{ID: m.ID, PID: m.Owner.PID, Was: "up", Error: m.Error}
	if m.Error != "" { // its process has written its last words
		out.Was = "gone"
		return out, m.remove()
	}
	err := m.signal(ctx, syscall.SIGTERM)
	switch {
	case errors.Is(err, os.ErrProcessDone):
		out.Was = "gone"
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		out.Killed = true
		if err := m.signal(ctx, syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return out, err
		}
	case err != nil:
		return out, err
	}
	return out, m.remove()
}

// signal signals the mesh's process and waits for its end.
func (m meshState) signal(ctx context.Context, sig syscall.Signal) error {
	if err := m.Owner.Signal(sig); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, downWithin)
	defer cancel()
	tick := time.NewTicker(downPoll)
	defer tick.Stop()
	for {
		alive, err := m.Owner.Alive()
		if err != nil || !alive {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d has not ended after %v: %w", m.Owner.PID, sig, context.Cause(ctx))
		}
	}
}
