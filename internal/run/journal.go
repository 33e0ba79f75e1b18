package run

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"squall/internal/mesh"
)

// Entry is one line of the journal: an undo that was noted before its change was made, what the change made, or that the undo was done.
type Entry struct {
	Seq   int      `json:"seq"`
	Phase string   `json:"phase"`
	Step  string   `json:"step"`
	Ref   mesh.Ref `json:"ref"`
	// Before is the exact object to restore; null is "there was none".
	Before map[string]any `json:"before"`
	// Run is the label that the change gives an object that it makes, "" where objects get none.
	Run string `json:"run,omitempty"`
	// Deed is what was done in place of a change, nil for a change.
	Deed *Deed `json:"deed,omitempty"`
	// Left is what the change made of the object, nil when it is not known.
	Left map[string]any `json:"left,omitempty"`
	// Made is the number of the entry whose change was made; but for Left the other fields are then empty.
	Made int `json:"made,omitempty"`
	// Undone is the number of the entry that was undone; the other fields are then empty.
	Undone int `json:"undone,omitempty"`
}

// Journal is the write-ahead log of undos. An entry is on disk before the change it undoes is sent, so that a run that was
// killed at any moment can be rolled back from the file alone.
type Journal struct {
	f    *os.File // nil: it is kept in memory alone
	end  int64    // where the next entry begins
	torn bool     // what is behind end could not be cut off
	seq  int
	open []Entry // not undone, in the order they were made
	// Holder undoes what was stopped; nil where nothing can be.
	Holder mesh.Holder
	// Flow asks the flow control of services; nil where only services outside of the mesh can be asked.
	Flow Flow
	// Run is the label that objects get which the run makes, "" on a mesh that ends with it.
	Run string
	// Foreign is what an undo does with objects that others have changed since.
	Foreign Decision
	kept    map[identity]bool // that were decided to be kept
}

// OpenJournal opens or makes the journal at path and reads what is in it. A last line that was cut off by a crash is an entry
// whose change was never sent, since it was not on disk; it is dropped.
func OpenJournal(path string) (*Journal, error) {
	entries, end, err := readJournal(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := f.Truncate(end); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %w", err), f.Close())
	}
	j := &Journal{f: f, end: end}
	for _, e := range entries {
		j.note(e)
	}
	return j, nil
}

func readJournal(path string) (entries []Entry, end int64, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	sc := bufio.NewReader(bytes.NewReader(b))
	for line := 1; ; line++ {
		text, err := sc.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // the end, or a line that was cut off
			return entries, end, nil
		}
		var e Entry
		if err == nil {
			err = kjson.Unmarshal(text, &e) // whole numbers stay whole
		}
		if err == nil {
			err = e.valid()
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s:%d: the journal is damaged: %w", path, line, err)
		}
		entries, end = append(entries, e), end+int64(len(text))
	}
}

// valid says what is missing in an entry that was read.
func (e Entry) valid() error {
	if e.Undone == 0 && e.Made == 0 && (e.Seq < 1 || e.Ref.APIVersion == "" || e.Ref.Kind == "" || e.Ref.Name == "") {
		return errors.New("it is neither an undo with its number and its object nor a note about one")
	}
	return nil
}

func (j *Journal) note(e Entry) {
	if e.Undone != 0 {
		j.open = slices.DeleteFunc(j.open, func(o Entry) bool { return o.Seq == e.Undone })
		return
	}
	if e.Made != 0 {
		for i := range j.open {
			if j.open[i].Seq == e.Made {
				j.open[i].Left = e.Left
			}
		}
		return
	}
	j.open = append(j.open, e)
	j.seq = max(j.seq, e.Seq)
}

// Add notes an undo; it returns when the entry is on disk. After an error it is not there, and the change must not be made.
func (j *Journal) Add(phase, step string, ref mesh.Ref, before *unstructured.Unstructured) error {
	e := Entry{Seq: j.seq + 1, Phase: phase, Step: step, Ref: ref}
	if before != nil {
		e.Before = before.Object
	} else {
		e.Run = j.Run
	}
	if err := j.write(e); err != nil {
		return fmt.Errorf("journal: the undo of %s could not be noted, so nothing was changed: %w", ref, err)
	}
	return nil
}

// write appends an entry. One that is not wholly on disk is cut off again: a line that was torn in the middle of the file would
// spoil those after it.
func (j *Journal) write(e Entry) error {
	if j.f == nil {
		j.note(e)
		return nil
	}
	if j.torn {
		return fmt.Errorf("%s ends in a torn line after an earlier error", j.f.Name())
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	n, err := j.f.WriteAt(append(b, '\n'), j.end)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		cut := j.f.Truncate(j.end)
		j.torn = cut != nil
		return errors.Join(err, cut)
	}
	j.end += int64(n)
	j.note(e)
	return nil
}

// Open lists the undos that were not done, in the order in which the changes were made.
func (j *Journal) Open() []Entry { return slices.Clone(j.open) }

func (j *Journal) isOpen(seq int) bool {
	return slices.ContainsFunc(j.open, func(o Entry) bool { return o.Seq == seq })
}

// Done says of those of the entries that are not open any more what their undo did, the last first.
func (j *Journal) Done(entries []Entry) []string {
	var out []string
	for _, e := range slices.Backward(entries) {
		if !j.isOpen(e.Seq) {
			done := e.Done()
			if (e.Deed == nil || e.Deed.Settings != nil) && j.kept[identify(e.Ref)] {
				done = fmt.Sprintf("kept %s as others have changed it (%s)", e.Ref, e.Step)
			}
			out = append(out, done)
		}
	}
	return out
}

// Close closes the file.
func (j *Journal) Close() error { return j.f.Close() }

// fixturesPhase is the phase of the entries about what the fixtures brought. They are undone at the very end.
const fixturesPhase = "fixtures"

// Undo does the undos that are asked for, the last first, and goes on after one that fails; all errors are joined. What was undone is noted, so
// that a second Undo does only the rest.
func (j *Journal) Undo(ctx context.Context, o *mesh.Objects, which func(Entry) bool) error {
	var errs []error
	left := map[identity]bool{} // that others have changed
	for _, e := range slices.Backward(j.Open()) {
		id := identify(e.Ref)
		if !which(e) || e.Deed == nil && left[id] {
			continue
		}
		if err := j.undo(ctx, o, e); err != nil {
			var foreign *ForeignError
			left[id] = left[id] || errors.As(err, &foreign)
			errs = append(errs, err)
			continue
		}
		for _, done := range j.superseded(e) {
			if err := j.write(Entry{Undone: done.Seq}); err != nil {
				errs = append(errs, fmt.Errorf("journal: %s was restored, but that could not be noted: %w", e.Ref, err))
			}
		}
	}
	return errors.Join(errs...)
}

// superseded are an entry that was undone and those after it about the same object whose undo failed: what they would restore came
// after what the object is now.
func (j *Journal) superseded(e Entry) []Entry {
	var out []Entry
	for _, o := range j.open {
		if o.Seq == e.Seq || o.Seq > e.Seq && o.Deed == nil && e.Deed == nil && identify(o.Ref) == identify(e.Ref) {
			out = append(out, o)
		}
	}
	return out
}

// object is what the entry restores, nil for nothing. It has no UID: an object that somebody made anew meanwhile is restored too.
func (e Entry) object() *unstructured.Unstructured {
	if e.Before == nil {
		return nil
	}
	u := (&unstructured.Unstructured{Object: e.Before}).DeepCopy()
	u.SetUID("")
	return u
}

// All is every entry.
func All(Entry) bool { return true }

// isChange says whether an entry is about a change of a phase.
func isChange(e Entry) bool { return e.Phase != fixturesPhase }

// Originals are, for each object that the entries are about, what it was before the first of them. An object that was changed
// through several versions of its API is one object, named as in its first entry.
func Originals(entries []Entry) map[mesh.Ref]*unstructured.Unstructured {
	out := map[mesh.Ref]*unstructured.Unstructured{}
	seen := map[identity]bool{}
	for _, e := range entries {
		if id := identify(e.Ref); !seen[id] && e.Deed == nil {
			seen[id] = true
			out[e.Ref] = e.object()
		}
	}
	return out
}

// identity is what an object is called in every version of its API.
type identity struct{ group, kind, namespace, name string }

func identify(r mesh.Ref) identity {
	return identity{schema.FromAPIVersionAndKind(r.APIVersion, r.Kind).Group, r.Kind, r.Namespace, r.Name}
}

// Leftovers says, for each original, how the object differs from it now; nothing when all are as they were.
func Leftovers(ctx context.Context, o *mesh.Objects, originals map[mesh.Ref]*unstructured.Unstructured) ([]string, error) {
	var out []string
	var errs []error
	for ref, before := range originals {
		diff, err := o.Difference(ctx, ref, before)
		if err != nil {
			errs = append(errs, err)
		}
		if diff != "" {
			out = append(out, diff)
		}
	}
	slices.Sort(out)
	return out, errors.Join(errs...)
}
