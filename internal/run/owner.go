package run

import "squall/internal/proc"

// OwnerFile is the name of the file of a run's folder that holds its Owner as JSON.
const OwnerFile = "owner.json"

// Owner is the process that executes a run. It is on disk before anything starts, so that somebody else can tell a run that
// was killed from one that is under way, and find what was left behind.
type Owner struct {
	proc.Identity
	// MeshDir is the working folder of the mesh's processes; empty when they are not on this machine.
	MeshDir string `json:"meshDir,omitempty"`
	// Cluster is where the run changes objects; nil before it does, and when its mesh ends with it.
	Cluster *Cluster `json:"cluster,omitempty"`
}

// writeOwner says who executes the run, and where.
func (r *runner) writeOwner(where *Cluster) error {
	self, err := proc.Self()
	if err != nil {
		return err
	}
	return r.Record.WriteJSON(OwnerFile, Owner{Identity: self, MeshDir: r.MeshDir, Cluster: where})
}
