package record

// TrafficStore is the file of a run's folder that holds its interface-traffic records, when it collected them and they did not go to an
// Elasticsearch.
const TrafficStore = "records.db"

// TrafficPage is the file of a run's folder that shows its interface traffic, when it collected any.
const TrafficPage = "traffic.html"

// Traffic is what the store of interface-traffic records held of a phase's load, read back when it had taken all.
type Traffic struct {
	Store string `json:"store"` // what the store is: SQLite, or Elasticsearch and where
	// Complete is "ok" when each proxy's records had come, and the store had taken them; else what is missing.
	Complete string            `json:"complete"`
	Received uint64            `json:"received"` // by the store, from the run's beginning on
	Known    uint64            `json:"known,omitempty"`
	Dropped  map[string]uint64 `json:"dropped,omitempty"` // by reason
	// Waited is how many of the phase's records were on disk for some time, since the store did not take them, and Refused what it said.
	Waited  uint64         `json:"waited,omitempty"`
	Refused string         `json:"refused,omitempty"`
	Groups  []TrafficGroup `json:"groups"`
}

// TrafficGroup sums up the records that differ in none of its labels.
type TrafficGroup struct {
	Reporter        string `json:"reporter"` // source or destination: whose proxy told
	SourceNamespace string `json:"sourceNamespace,omitempty"`
	Source          string `json:"source,omitempty"` // the caller's workload
	Namespace       string `json:"namespace,omitempty"`
	Service         string `json:"service,omitempty"`
	Workload        string `json:"workload,omitempty"` // that answered
	Version         string `json:"version,omitempty"`
	Method          string `json:"method,omitempty"`
	Interface       string `json:"interface,omitempty"`
	Code            int    `json:"code"`
	Flags           string `json:"flags,omitempty"` // of Envoy, by comma

	Records int64   `json:"records"`
	Failed  int64   `json:"failed,omitempty"`  // without an answer, or with one of 5xx
	Sum     float64 `json:"sum"`               // seconds, of all durations
	Min     float64 `json:"min"`               // seconds
	Max     float64 `json:"max"`               // seconds
	Buckets []byte  `json:"buckets,omitempty"` // of the durations, as store.Summary writes them
}

func trafficFile(phase string) string { return "phases/" + phase + "/traffic.json" }

// WriteTraffic saves what the store held of a phase.
func (r *Run) WriteTraffic(phase string, t Traffic) error {
	if err := checkSegment("phase", phase); err != nil {
		return err
	}
	return r.WriteJSON(trafficFile(phase), t)
}

// Traffic reads it. It is fs.ErrNotExist when the run collected no records.
func (r *Run) Traffic(phase string) (Traffic, error) {
	if err := checkSegment("phase", phase); err != nil {
		return Traffic{}, err
	}
	var t Traffic
	err := r.ReadJSON(trafficFile(phase), &t)
	return t, err
}
