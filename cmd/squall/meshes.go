package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"squall/internal/proc"
)

// meshState is a mesh of 'squall up' as its file says: meshes/ID.json in Squall's state folder.
type meshState struct {
	ID string `json:"id"`
	// Owner is the process whose children the mesh's are: it ends, they end.
	Owner      proc.Identity `json:"owner"`
	Since      time.Time     `json:"since"`
	Ready      bool          `json:"ready"`
	Namespace  string        `json:"namespace"`
	Kubeconfig string        `json:"kubeconfig"`
	Logs       string        `json:"logs"` // folder of the processes' logs
	Dir        string        `json:"dir"`  // working folder of the processes
	// Caller is the address at which the proxy of the load generator's pod takes calls to services.
	Caller string `json:"caller,omitempty"`
	// Gateway is ip:port at which the ingress gateway takes what its Service takes at port 80, where Gateways open the mesh.
	Gateway string `json:"gateway,omitempty"`
	// Services are host:port of the mesh's services, as Caller takes them.
	Services []string `json:"services,omitempty"`
	// Error is why the mesh ended by itself.
	Error string `json:"error,omitempty"`
}

// meshesDir is the folder of the meshes' files.
func meshesDir() (string, error) {
	dir, err := stateDir()
	return filepath.Join(dir, "meshes"), err
}

// stateDir is the folder of what outlives a command.
func stateDir() (string, error) {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) { // the specification says to ignore a relative one
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no folder for the state of meshes: %w: set HOME or XDG_STATE_HOME", err)
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "squall"), nil
}

func checkMeshID(id string) error {
	if !regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`).MatchString(id) {
		return fmt.Errorf("%q cannot name a mesh: use up to 63 lower-case letters, digits and dashes", id)
	}
	return nil
}

// newMeshState is that of a mesh that is about to start, owned by this process.
func newMeshState(id, namespace string) (meshState, error) {
	dir, err := meshesDir()
	if err != nil {
		return meshState{}, err
	}
	self, err := proc.Self()
	if err != nil {
		return meshState{}, err
	}
	home := filepath.Join(dir, id)
	return meshState{
		ID: id, Owner: self, Since: time.Now().UTC(), Namespace: namespace, Kubeconfig: filepath.Join(home, "kubeconfig"),
		Logs: filepath.Join(home, "logs"),
	}, nil
}

// home is the folder of the mesh's own files.
func (m meshState) home() string { return filepath.Dir(m.Kubeconfig) }

func (m meshState) file() string { return m.home() + ".json" }

// claim makes the mesh's file and folders. A mesh of that name that is alive is an error; what is left of a dead one is removed.
func (m meshState) claim() error {
	if err := freeMeshID(m.ID); err != nil {
		return err
	}
	if err := os.MkdirAll(m.Logs, 0o700); err != nil {
		return fmt.Errorf("folder of mesh %s: %w", m.ID, err)
	}
	f, err := os.OpenFile(m.file(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mesh %s: %w", m.ID, err)
	}
	if err := errors.Join(f.Close(), m.write()); err != nil {
		return errors.Join(err, m.remove()) // a file that says nothing would stand in the way of the next
	}
	return nil
}

// freeMeshID removes what is left of a dead mesh of that name. One that is alive is an error.
func freeMeshID(id string) error {
	old, err := readMesh(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if alive, err := old.Owner.Alive(); err != nil || alive {
		return errors.Join(fmt.Errorf("mesh %s is up already (process %d); give another --name", id, old.Owner.PID), err)
	}
	return old.remove()
}

// write replaces the mesh's file.
func (m meshState) write() error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	tmp := m.home() + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("state of mesh %s: %w", m.ID, err)
	}
	if err := os.Rename(tmp, m.file()); err != nil {
		return fmt.Errorf("state of mesh %s: %w", m.ID, err)
	}
	return nil
}

// remove removes all files of a mesh that has ended.
func (m meshState) remove() error {
	errs := []error{os.RemoveAll(m.home())}
	if m.Dir != "" {
		errs = append(errs, os.RemoveAll(m.Dir))
	}
	if err := os.Remove(m.file()); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// readMesh reads a mesh's file. One that is not there is fs.ErrNotExist.
func readMesh(id string) (meshState, error) {
	dir, err := meshesDir()
	if err != nil {
		return meshState{}, err
	}
	path := filepath.Join(dir, id+".json")
	b, err := os.ReadFile(path)
	if err != nil {
		return meshState{}, err
	}
	var m meshState
	if err := json.Unmarshal(b, &m); err != nil {
		return meshState{}, fmt.Errorf("%s is damaged: %w; delete it when no mesh %s is up", path, err, id)
	}
	if m.ID != id || filepath.Dir(m.Kubeconfig) != filepath.Join(dir, id) {
		return meshState{}, fmt.Errorf("%s is not the file of a mesh", path)
	}
	return m, nil
}

// listMeshes reads the files of all meshes, by id. One that is just being made or removed is passed over.
func listMeshes() ([]meshState, error) {
	dir, err := meshesDir()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var out []meshState
	var errs []error
	for _, f := range files {
		m, err := readMesh(strings.TrimSuffix(filepath.Base(f), ".json"))
		switch {
		case err == nil:
			out = append(out, m)
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}
