package kubeapi

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// cell makes one column of kubectl get.
type cell struct {
	name     string
	kind     string // string, integer, number, boolean or date
	priority int32  // 1: only with -o wide
	value    func(data map[string]any, now time.Time) any
}

// asTable is the Table of the objects, with what of each object the request asked for.
func (q *request) asTable(now time.Time, objects []*object, meta metav1.ListMeta) *metav1.Table {
	t := &metav1.Table{
		TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: metav1.GroupName + "/" + q.accept.version},
		ListMeta: meta,
		Rows:     make([]metav1.TableRow, 0, len(objects)),
	}
	cells := cellsOf(q.res)
	for _, c := range cells {
		d := metav1.TableColumnDefinition{Name: c.name, Type: c.kind, Priority: c.priority}
		if c.name == "Name" {
			d.Format = "name"
		}
		t.ColumnDefinitions = append(t.ColumnDefinitions, d)
	}
	for _, o := range objects {
		row := metav1.TableRow{Cells: make([]any, len(cells))}
		for i, c := range cells {
			row.Cells[i] = c.value(o.data, now)
		}
		switch q.includeObject {
		case metav1.IncludeNone:
		case metav1.IncludeObject:
			row.Object = runtime.RawExtension{Raw: o.json(q.version)}
		default:
			row.Object = runtime.RawExtension{Raw: mustJSON(o.partial(q.accept.version))}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func cellsOf(r *Resource) []cell {
	cells := []cell{at("Name", "metadata.name")}
	if r.Columns != nil {
		for _, c := range r.Columns {
			if c.Date {
				cells = append(cells, ageCell())
				continue
			}
			cells = append(cells, at(c.Name, c.Path))
		}
		return cells
	}
	special, ok := builtInCells()[r.groupResource().String()]
	if !ok {
		return append(cells, ageCell())
	}
	return append(cells, special...)
}

// at is a column that shows what is at a path. Lists are shown as kubectl shows those of a CRD.
func at(name, path string) cell {
	parts := strings.Split(path, ".")
	return cell{name: name, kind: "string", value: func(data map[string]any, _ time.Time) any {
		switch v := lookup(data, parts...).(type) {
		case nil:
			return ""
		case string:
			return v
		case []any:
			return string(mustJSON(v))
		default:
			return fmt.Sprint(v)
		}
	}}
}

func wide(c cell) cell {
	c.priority = 1
	return c
}

// orNone shows <none> for nothing.
func orNone(c cell) cell {
	value := c.value
	c.value = func(data map[string]any, now time.Time) any {
		if v := value(data, now); v != "" {
			return v
		}
		return "<none>"
	}
	return c
}

func ageCell() cell { return timeCell("Age", "metadata.creationTimestamp") }

// timeCell is how long ago a time was.
func timeCell(name, path string) cell {
	parts := strings.Split(path, ".")
	return cell{name: name, kind: "string", value: func(data map[string]any, now time.Time) any {
		t, err := time.Parse(time.RFC3339, text(data, parts...))
		if err != nil {
			return "<unknown>"
		}
		return duration.HumanDuration(now.Sub(t))
	}}
}

// count is a column with the number at a path, 0 where there is none: what kubectl prints for an absent counter.
func count(name, path string) cell {
	parts := strings.Split(path, ".")
	return cell{name: name, kind: "integer", value: func(data map[string]any, _ time.Time) any {
		return number(data, parts...)
	}}
}

func number(data map[string]any, path ...string) int64 {
	switch v := lookup(data, path...).(type) {
	case int64:
		return v
	case float64:
		return int64(v)
	}
	return 0
}

func made(name string, value func(data map[string]any) string) cell {
	return cell{name: name, kind: "string", value: func(data map[string]any, _ time.Time) any { return value(data) }}
}
