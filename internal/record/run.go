package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The names of the files of a run's folder, relative to it, for WriteJSON and ReadJSON.
const (
	ManifestFile = "run.json"
	SpecFile     = "spec.json"
	PlanFile     = "plan.json"
	JournalFile  = "journal.ndjson"
	EventsFile   = "events.ndjson"
	ProxiesFile  = "proxies.json"
	ObjectsFile  = "objects.json"
	ResultFile   = "result.json"
	JUnitFile    = "junit.xml"
	ReportFile   = "report.html"
)

// When says at which end of a phase a proxy's stats were read.
type When = string

// The two ends of a phase.
const (
	Before When = "before"
	After  When = "after"
)

// Run is a run's folder. Its methods may be called concurrently; two writers of one file may not.
type Run struct {
	dir string
}

// Create makes the folder dir/runID, and dir itself when needed. A folder that is already there is an error: a run never
// writes into another one.
func Create(dir, runID string) (*Run, error) {
	if err := checkSegment("run id", runID); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the reports folder: %w", err)
	}
	r := &Run{dir: filepath.Join(dir, runID)}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the run's folder: %w", err)
	}
	for _, sub := range []string{"phases", "proxies", "logs"} {
		if err := os.Mkdir(filepath.Join(r.dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("create the run's folder: %w", err)
		}
	}
	return r, nil
}

// Open reads the run in the folder path. It fails when the folder has no run.json; what else is there is found out by reading.
func Open(path string) (*Run, error) {
	_, err := os.Stat(filepath.Join(path, ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a run's folder, it has no %s: %w", path, ManifestFile, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the run: %w", err)
	}
	return &Run{dir: path}, nil
}

// Dir is the run's folder.
func (r *Run) Dir() string { return r.dir }

// Path is the path of a file of the run, given its parts below the run's folder. It makes nothing.
func (r *Run) Path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

// LogPath is where the output of a process belongs.
func (r *Run) LogPath(process string) string { return r.Path("logs", process+".log") }

func requestsFile(phase string) string    { return "phases/" + phase + "/requests.ndjson" }
func loadFile(phase string) string        { return "phases/" + phase + "/load.json" }
func accessFile(phase, pod string) string { return "phases/" + phase + "/access/" + pod + ".ndjson" }
func statsFile(phase, pod string, when When) string {
	return "phases/" + phase + "/stats/" + pod + "." + when + ".json"
}

// checkSegment refuses a name that cannot be one folder or file: what a phase or pod is called comes from a scenario.
func checkSegment(what, name string) error {
	if name == "." || !filepath.IsLocal(name) || strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("%s %q cannot name a folder: use letters, digits and dashes", what, name)
	}
	return nil
}

func checkSegments(phase, pod string) error {
	return errors.Join(checkSegment("phase", phase), checkSegment("pod", pod))
}

// WriteJSON replaces the file name, relative to the run's folder, by v as indented JSON. The file is complete or unchanged:
// it is written beside its place, synced and renamed. Folders are made when needed.
func (r *Run) WriteJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", r.Path(name), err)
	}
	return r.WriteFile(name, append(b, '\n'))
}

// WriteFile is WriteJSON for bytes, such as a report.
func (r *Run) WriteFile(name string, b []byte) error {
	path := r.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := replaceFile(path, b); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func replaceFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// ReadJSON reads the file name, relative to the run's folder, into v. A file that is not there is fs.ErrNotExist.
func (r *Run) ReadJSON(name string, v any) error {
	b, err := os.ReadFile(r.Path(name))
	if err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", r.Path(name), err)
	}
	return nil
}

// Manifest reads run.json.
func (r *Run) Manifest() (Manifest, error) {
	var m Manifest
	err := r.ReadJSON(ManifestFile, &m)
	return m, err
}

// Load reads what the phase's load achieved.
func (r *Run) Load(phase string) (Load, error) {
	var l Load
	if err := checkSegment("phase", phase); err != nil {
		return l, err
	}
	err := r.ReadJSON(loadFile(phase), &l)
	return l, err
}

// WriteLoad saves what the phase's load achieved.
func (r *Run) WriteLoad(phase string, l Load) error {
	if err := checkSegment("phase", phase); err != nil {
		return err
	}
	return r.WriteJSON(loadFile(phase), l)
}

// Stats reads a proxy's counters at one end of a phase. Stats that were not read are fs.ErrNotExist, never empty.
func (r *Run) Stats(phase, pod string, when When) (Stats, error) {
	if err := checkSegments(phase, pod); err != nil {
		return nil, err
	}
	var s Stats
	if err := r.ReadJSON(statsFile(phase, pod, when), &s); err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("read %s: no stats in it", r.Path(statsFile(phase, pod, when)))
	}
	return s, nil
}

// WriteStats saves a proxy's counters at one end of a phase.
func (r *Run) WriteStats(phase, pod string, when When, s Stats) error {
	if err := checkSegments(phase, pod); err != nil {
		return err
	}
	if when != Before && when != After {
		return fmt.Errorf("stats of %s: %q is neither %s nor %s", pod, when, Before, After)
	}
	return r.WriteJSON(statsFile(phase, pod, when), s)
}

// Proxies reads the pods that have a sidecar.
func (r *Run) Proxies() ([]Proxy, error) {
	var p []Proxy
	err := r.ReadJSON(ProxiesFile, &p)
	return p, err
}

// PhaseProxies are the proxies that there were while the phase's load ran. A run that did not note them for each phase had the same in
// all.
func (r *Run) PhaseProxies(phase string) ([]Proxy, error) {
	if err := checkSegment("phase", phase); err != nil {
		return nil, err
	}
	var p []Proxy
	err := r.ReadJSON(phaseProxiesFile(phase), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return r.Proxies()
	}
	return p, err
}

// WritePhaseProxies saves the proxies that there are when a phase's load begins.
func (r *Run) WritePhaseProxies(phase string, p []Proxy) error {
	if err := checkSegment("phase", phase); err != nil {
		return err
	}
	return r.WriteJSON(phaseProxiesFile(phase), p)
}

func phaseProxiesFile(phase string) string { return "phases/" + phase + "/" + ProxiesFile }

// WriteProxies saves the pods that have a sidecar.
func (r *Run) WriteProxies(p []Proxy) error { return r.WriteJSON(ProxiesFile, p) }
