package record

// The parts of a pod that use something.
const (
	App     = "app"
	Sidecar = "proxy"
)

// Usage is what processes have used since they started.
type Usage struct {
	PID    int     `json:"pid"` // of the first of them
	CPU    float64 `json:"cpuSeconds"`
	Memory int64   `json:"memoryBytes"` // resident
}

// PodUsage is what a pod has used, by its parts.
type PodUsage struct {
	Pod      string            `json:"pod"`
	Services []string          `json:"services"` // short names of those whose selector matches the pod
	Labels   map[string]string `json:"labels"`
	Parts    map[string]Usage  `json:"parts"`
}

func usageFile(phase string, when When) string {
	return "phases/" + phase + "/usage." + when + ".json"
}

// WriteUsage saves what the pods have used at one end of a phase.
func (r *Run) WriteUsage(phase string, when When, u []PodUsage) error {
	if err := checkSegment("phase", phase); err != nil {
		return err
	}
	return r.WriteJSON(usageFile(phase, when), u)
}

// Usage reads what the pods had used at one end of a phase. It is fs.ErrNotExist when nobody could tell.
func (r *Run) Usage(phase string, when When) ([]PodUsage, error) {
	if err := checkSegment("phase", phase); err != nil {
		return nil, err
	}
	var u []PodUsage
	err := r.ReadJSON(usageFile(phase, when), &u)
	return u, err
}
