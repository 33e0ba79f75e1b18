package kube

import "squall/internal/mesh"

// Stamp is the run's.
func (m *Mesh) Stamp() mesh.Stamp { return mesh.Stamp{RunID: m.opts.RunID, Expires: m.opts.Expires} }
