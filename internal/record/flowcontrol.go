package record

import "slices"

// FlowControl is what the flow control of a service had counted at one end of a phase.
type FlowControl struct {
	Service string `json:"service"`
	Missing string `json:"missing,omitempty"` // why it is not known
	// Instances are what counts: pods of the service's, by their names, UIDs and restarts. Others have counted anew.
	Instances []string   `json:"instances,omitempty"`
	Nodes     []FlowNode `json:"nodes,omitempty"`
}

// FlowNode is what was counted at one node of Elasticsearch's.
type FlowNode struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Started int64  `json:"started"` // milliseconds of the Unix time
	// Counts are by their names, such as http.rejected_concurrent; see FlowCounts.
	Counts map[string]int64 `json:"counts"`
}

// FlowCounts are the names of what flow control counts, and below node. of what Elasticsearch does.
func FlowCounts() []string {
	out := []string{"memory.memory_allow", "memory.memory_rejected", "cpu.rejected_cpu", "node.current_open", "node.total_opened"}
	for _, port := range []string{"http", "transport"} {
		out = append(out, port+".concurrent_req", port+".rejected_concurrent", port+".rejected_new", port+".rejected_deny")
	}
	slices.Sort(out)
	return out
}

// FlowGauges are those of FlowCounts that go up and down.
func FlowGauges() []string {
	return []string{"http.concurrent_req", "transport.concurrent_req", "node.current_open"}
}

func flowControlFile(phase string, when When) string {
	return "phases/" + phase + "/flowcontrol." + when + ".json"
}

// WriteFlowControl saves what flow control had counted at one end of a phase.
func (r *Run) WriteFlowControl(phase string, when When, f []FlowControl) error {
	if err := checkSegment("phase", phase); err != nil {
		return err
	}
	return r.WriteJSON(flowControlFile(phase, when), f)
}

// FlowControl reads what flow control had counted at one end of a phase. It is fs.ErrNotExist when nobody asked.
func (r *Run) FlowControl(phase string, when When) ([]FlowControl, error) {
	if err := checkSegment("phase", phase); err != nil {
		return nil, err
	}
	var f []FlowControl
	err := r.ReadJSON(flowControlFile(phase, when), &f)
	return f, err
}
