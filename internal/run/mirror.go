package run

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"squall/internal/mesh"
)

// The Secrets that hold a run's journal on its cluster.
const (
	partLabel   = "squall.dev/journal" // its value is the number of the part
	mirrorKey   = "journal"
	mirrorLimit = 900 << 10 // of a part; a Secret holds 1 MiB
)

// mirror is a copy of the journal on the cluster, in Secrets of the run's namespace, so that any machine can roll the run back. Entries
// are only ever added: a run that is killed between two of them leaves all those whose changes were sent.
type mirror struct {
	objects   *mesh.Objects
	stamp     mesh.Stamp
	namespace string
	queued    []Entry // for which there is no place yet
	noted     []int   // entries that were written, and not noted as undone
	part      int
	data      []byte // of the part
}

// queue takes an entry whose place is made by the very change that it is about; it is written with the next one.
func (m *mirror) queue(e Entry) { m.queued = append(m.queued, e) }

// add writes an entry; it returns when the cluster has it.
func (m *mirror) add(ctx context.Context, entries ...Entry) error {
	all := append(m.queued, entries...)
	for _, e := range all {
		packed, err := pack(e)
		if err != nil {
			return err
		}
		if len(packed) > mirrorLimit {
			return fmt.Errorf("the undo of %s has %d bytes, and a Secret holds only 1 MiB", e.Ref, len(packed))
		}
		if m.part == 0 || len(m.data)+len(packed) > mirrorLimit {
			if err := m.write(ctx); err != nil {
				return err
			}
			m.part++
			m.data = nil
		}
		m.data = append(m.data, packed...)
	}
	if err := m.write(ctx); err != nil {
		return err
	}
	m.queued = nil
	for _, e := range all {
		if e.Undone == 0 && e.Made == 0 {
			m.noted = append(m.noted, e.Seq)
		}
	}
	return nil
}

// write puts the part on the cluster.
func (m *mirror) write(ctx context.Context) error {
	if len(m.data) == 0 {
		return nil
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "squall.dev/journal",
		"metadata": map[string]any{"name": m.name(m.part), "namespace": m.namespace, "labels": map[string]any{partLabel: strconv.Itoa(m.part)}},
		"data":     map[string]any{mirrorKey: base64.StdEncoding.EncodeToString(m.data)},
	}}
	m.stamp.Put(u, nil)
	if _, err := m.objects.Apply(ctx, u); err != nil {
		return fmt.Errorf("copy of the journal: %w", err)
	}
	return nil
}

func (m *mirror) name(part int) string {
	return fmt.Sprintf("squall-journal-%s-%d", m.stamp.Label(), part)
}

// settle notes what has been undone, and removes the copy when nothing but namespaces is left.
func (m *mirror) settle(ctx context.Context, open []Entry) error {
	left := slices.DeleteFunc(slices.Clone(open), isNamespace)
	if len(left) == 0 {
		return m.remove(ctx)
	}
	var undone []Entry
	m.noted = slices.DeleteFunc(m.noted, func(seq int) bool {
		if slices.ContainsFunc(open, func(e Entry) bool { return e.Seq == seq }) {
			return false
		}
		undone = append(undone, Entry{Undone: seq})
		return true
	})
	if len(undone) == 0 {
		return nil
	}
	return m.add(ctx, undone...)
}

func (m *mirror) remove(ctx context.Context) error {
	var errs []error
	for part := 1; part <= m.part; part++ {
		errs = append(errs, m.objects.Delete(ctx, mesh.Ref{APIVersion: "v1", Kind: "Secret", Namespace: m.namespace, Name: m.name(part)}))
	}
	m.part, m.data, m.noted = 0, nil, nil
	return errors.Join(errs...)
}

func isNamespace(e Entry) bool { return e.Ref.IsNamespace() }

// pack is an entry as one member of a gzip file.
func pack(e Entry) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	err := errors.Join(json.NewEncoder(w).Encode(e), w.Close())
	return out.Bytes(), err
}

// unpackMirror reads the journal from the Secrets of a run, in any order.
func unpackMirror(parts []*unstructured.Unstructured) (*Journal, error) {
	parts = slices.Clone(parts)
	number := func(u *unstructured.Unstructured) int {
		n, _ := strconv.Atoi(u.GetLabels()[partLabel]) // what is none was not written by Squall, and is found out below
		return n
	}
	slices.SortFunc(parts, func(a, b *unstructured.Unstructured) int { return number(a) - number(b) })
	var data []byte
	for i, p := range parts {
		if number(p) != i+1 {
			return nil, fmt.Errorf("part %d of the journal is missing", i+1)
		}
		text, _, err := unstructured.NestedString(p.Object, "data", mirrorKey)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", mesh.RefOf(p), err)
		}
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", mesh.RefOf(p), err)
		}
		data = append(data, b...)
	}
	j := &Journal{}
	if len(data) == 0 {
		return j, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("the journal is damaged: %w", err)
	}
	lines := bufio.NewReader(z)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return j, nil
		}
		var e Entry
		if err == nil {
			err = kjson.Unmarshal(line, &e)
		}
		if err == nil {
			err = e.valid()
		}
		if err != nil {
			return nil, fmt.Errorf("the journal is damaged: %w", err)
		}
		j.note(e)
	}
}
