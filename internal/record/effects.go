package record

// The effects that a step can have on the pods of a workload: the values of Effect.Name.
const (
	Replaced    = "replaced"    // pods that were there are gone, each with another that serves in its place
	Stopped     = "stopped"     // pods whose program is stopped at the load's end
	Partitioned = "partitioned" // pods whose proxy is stopped at the load's end
	Stuck       = "stuck"       // 1 while a rollout does not come to its end
	Cordoned    = "cordoned"    // nodes of the pods that take no new ones at the load's end
)

// Effect is what a step did to a workload, as it was seen when the phase's load had ended.
type Effect struct {
	Step     string   `json:"step"`
	Name     string   `json:"name"`
	Workload string   `json:"workload"`
	Pods     []string `json:"pods"`              // those that it met; the workload itself for stuck, nodes for cordoned
	Missing  string   `json:"missing,omitempty"` // why it is not known
}

func effectsFile(phase string) string { return "phases/" + phase + "/effects.json" }

// WriteEffects saves what the phase's steps did to workloads.
func (r *Run) WriteEffects(phase string, e []Effect) error {
	if err := checkSegment("phase", phase); err != nil {
		return err
	}
	return r.WriteJSON(effectsFile(phase), e)
}

// Effects reads what the phase's steps did to workloads. It is fs.ErrNotExist when none was to do anything.
func (r *Run) Effects(phase string) ([]Effect, error) {
	if err := checkSegment("phase", phase); err != nil {
		return nil, err
	}
	var e []Effect
	err := r.ReadJSON(effectsFile(phase), &e)
	return e, err
}
