package mesh

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ExpiresAnnotation is when the run that has to do with an object counts as dead, as RFC 3339 says.
const ExpiresAnnotation = "squall.dev/expires"

// Stamp says whose an object is: what a run creates on a cluster that outlives it, and what it changes there, has its run's id as a label
// and the end of the run's time as an annotation.
type Stamp struct {
	RunID   string
	Expires time.Time
}

// Label is the run's id as a label has it.
func (s Stamp) Label() string { return strings.Trim(s.RunID[max(0, len(s.RunID)-63):], "-_.") }

// Put stamps an object that is about to be applied; before is what is there. What the run creates is managed by Squall; of what it
// changes, that label stays its owner's.
func (s Stamp) Put(u, before *unstructured.Unstructured) {
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels[RunIDLabel] = s.Label()
	if before == nil || before.GetLabels()[ManagedByLabel] == FieldManager {
		labels[ManagedByLabel] = FieldManager
	} else if labels[ManagedByLabel] == FieldManager {
		delete(labels, ManagedByLabel)
	}
	annotations[ExpiresAnnotation] = s.Expires.UTC().Format(time.RFC3339)
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
}

// MadeBySquall says whether some run has created the object.
func MadeBySquall(u *unstructured.Unstructured) bool {
	l := u.GetLabels()
	return l[ManagedByLabel] == FieldManager && l[RunIDLabel] != ""
}

// Expired says whether the time of the object's run is over; an object without such a time has none that could be.
func Expired(u *unstructured.Unstructured, now time.Time) bool {
	end, err := time.Parse(time.RFC3339, u.GetAnnotations()[ExpiresAnnotation])
	return err == nil && now.After(end)
}

// unstamp takes what Put put on an object from it.
func unstamp(u *unstructured.Unstructured) {
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	if MadeBySquall(u) {
		delete(labels, ManagedByLabel)
	}
	delete(labels, RunIDLabel)
	delete(annotations, ExpiresAnnotation)
	if u.SetLabels(labels); len(labels) == 0 {
		u.SetLabels(nil)
	}
	if u.SetAnnotations(annotations); len(annotations) == 0 {
		u.SetAnnotations(nil)
	}
}
