package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Claim is somebody's ownership of an object, or of some of its fields.
type Claim struct {
	Who    string
	Why    string   // how that is known
	Fields []string // those that would change
	Fix    string
}

// OwnedError is an object that somebody else owns what a run would change of it.
type OwnedError struct {
	Ref    Ref
	Claims []Claim
}

// Error says who owns which field, and what to do.
func (e *OwnedError) Error() string {
	var out []string
	for _, c := range e.Claims {
		out = append(out, fmt.Sprintf("%s owns %s of it (%s): %s", c.Who, strings.Join(c.Fields, ", "), c.Why, c.Fix))
	}
	return fmt.Sprintf("%s is not Squall's to change: %s", e.Ref, strings.Join(out, "; "))
}

// Free is a *HeldError when another run has to do with the object, and an *OwnedError when the apply would change what somebody else owns: of
// an object that a controller or a tool for deployments holds, anything; else the fields that other managers have set to something else.
// Nothing is changed.
func (o *Objects) Free(ctx context.Context, u *unstructured.Unstructured, s Stamp) error {
	live, err := o.Get(ctx, RefOf(u))
	if err != nil || live == nil {
		return err
	}
	if err := s.Others(live); err != nil { // also when nothing of it would change: that run deletes it at its end
		return err
	}
	u = u.DeepCopy()
	s.Put(u, live)
	after, err := o.pretend(ctx, u)
	if err != nil {
		return err
	}
	changed := differences("", Authored(live).Object, Authored(after).Object)
	if len(changed) == 0 {
		return nil
	}
	claims := claimsOn(live, changed)
	var conflict apierrors.APIStatus
	if err := o.Try(ctx, u); errors.As(err, &conflict) && apierrors.IsConflict(err) {
		claims = append(claims, conflicts(conflict.Status())...)
	} else if err != nil {
		return err
	}
	if len(claims) == 0 {
		return nil
	}
	return &OwnedError{Ref: RefOf(u), Claims: claims}
}

// pretend asks the API what the object would be if the apply overruled everybody. Nothing is changed.
func (o *Objects) pretend(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	force := true
	return o.apply(ctx, u, metav1.PatchOptions{Force: &force, DryRun: []string{metav1.DryRunAll}})
}

// HeldError is objects that another run has to do with.
type HeldError struct {
	Refs  []Ref
	Run   string // its label
	Until string // as ExpiresAnnotation has it
}

// Error names the objects, the run, and what to do.
func (e *HeldError) Error() string {
	var names []string
	for _, r := range e.Refs {
		names = append(names, r.String())
	}
	verb := "is"
	if len(names) > 1 {
		verb = "are"
	}
	return fmt.Sprintf("%s %s of run %s, until %s: wait for its end; when it was killed 'squall rollback' ends it, or 'squall rollback --expired' after that time",
		strings.Join(Few(names), ", "), verb, e.Run, e.Until)
}

// Others is a *HeldError when another run has to do with the object.
func (s Stamp) Others(live *unstructured.Unstructured) error {
	id := live.GetLabels()[RunIDLabel]
	if id == "" || id == s.Label() {
		return nil
	}
	return &HeldError{[]Ref{RefOf(live)}, id, live.GetAnnotations()[ExpiresAnnotation]}
}

// claimsOn are those on the whole object.
func claimsOn(live *unstructured.Unstructured, changed []string) []Claim {
	var out []Claim
	add := func(who, why, fix string) {
		out = append(out, Claim{Who: who, Why: why, Fields: Few(changed), Fix: fix})
	}
	l, a := live.GetLabels(), live.GetAnnotations()
	for _, r := range live.GetOwnerReferences() {
		if r.Controller != nil && *r.Controller {
			who := r.Kind + " " + r.Name
			if strings.HasPrefix(r.APIVersion, "flagger.app/") {
				who = "Flagger (" + who + ")"
			}
			add(who, "metadata.ownerReferences", "its controller would put it back: suspend that for the time of the run")
		}
	}
	const instead = ", or run beside it in another --namespace"
	for _, m := range []struct{ value, who, why, fix string }{
		{a["argocd.argoproj.io/tracking-id"], "Argo CD", "argocd.argoproj.io/tracking-id", "switch the application's automated sync off for the time of the run"},
		{l["argocd.argoproj.io/instance"], "Argo CD", "argocd.argoproj.io/instance", "switch the application's automated sync off for the time of the run"},
		{l["kustomize.toolkit.fluxcd.io/name"], "Flux", "kustomize.toolkit.fluxcd.io/name", "'flux suspend kustomization' it for the time of the run"},
		{l["helm.toolkit.fluxcd.io/name"], "Flux", "helm.toolkit.fluxcd.io/name", "'flux suspend helmrelease' it for the time of the run"},
		{a["meta.helm.sh/release-name"], "Helm", "meta.helm.sh/release-name", "remove the release, or leave the object out of it"},
	} {
		if m.value != "" && !slices.ContainsFunc(out, func(c Claim) bool { return c.Who == m.who }) {
			add(m.who, m.why+" "+m.value, m.fix+instead)
		}
	}
	if by := l[ManagedByLabel]; by != "" && by != FieldManager && !slices.ContainsFunc(out, func(c Claim) bool { return strings.HasPrefix(strings.ToLower(c.Who), strings.ToLower(by)) }) {
		add(by, ManagedByLabel+" "+by, "have it leave the object alone for the time of the run"+instead)
	}
	return out
}

// conflicts are the claims of field managers, each once with its fields.
func conflicts(status metav1.Status) []Claim {
	var out []Claim
	if status.Details == nil {
		return nil
	}
	for _, c := range status.Details.Causes {
		if c.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		_, manager, _ := strings.Cut(c.Message, `"`)
		manager, _, _ = strings.Cut(manager, `"`)
		i := slices.IndexFunc(out, func(o Claim) bool { return o.Why == "field manager "+manager })
		if i < 0 {
			i = len(out)
			out = append(out, Claim{
				Who: ManagerName(manager), Why: "field manager " + manager,
				Fix: "have the fields left alone for the time of the run, or run beside it in another --namespace",
			})
		}
		out[i].Fields = append(out[i].Fields, strings.TrimPrefix(c.Field, "."))
	}
	for i := range out {
		out[i].Fields = Few(out[i].Fields)
	}
	return out
}

// ManagerName says who a field manager is.
func ManagerName(manager string) string {
	switch {
	case strings.HasPrefix(manager, "argocd-"):
		return "Argo CD"
	case manager == "flagger":
		return "Flagger"
	case manager == "helm":
		return "Helm"
	case manager == "kustomize-controller", manager == "helm-controller":
		return "Flux"
	case manager == "kubectl" || strings.HasPrefix(manager, "kubectl-"):
		return "a person with kubectl"
	}
	return manager
}

// Few shortens a list for a message.
func Few(list []string) []string {
	const most = 5
	if len(list) <= most {
		return list
	}
	return append(slices.Clone(list[:most-1]), fmt.Sprintf("%d more", len(list)-most+1))
}

// Changed are the paths of the fields that now are not as before, the outermost of each, without a run's stamp and what the API server
// keeps by itself.
func Changed(before, now *unstructured.Unstructured) []string {
	return differences("", Authored(before).Object, Authored(now).Object)
}

// differences are the paths at which b is not a, the outermost of each, without a run's stamp.
func differences(path string, a, b any) []string {
	x, ok := a.(map[string]any)
	y, also := b.(map[string]any)
	if !ok || !also {
		if firstDifference("", a, b) == "" {
			return nil
		}
		return []string{strings.TrimPrefix(path, ".")}
	}
	var out []string
	keys := map[string]bool{}
	for _, m := range []map[string]any{x, y} {
		for k := range m {
			keys[k] = true
		}
	}
	for k := range keys {
		if k == RunIDLabel || k == ExpiresAnnotation || k == ManagedByLabel && y[k] == FieldManager {
			continue
		}
		av, bv := x[k], y[k]
		if av == nil && stamped(bv) {
			continue
		}
		out = append(out, differences(path+"."+k, av, bv)...)
	}
	slices.Sort(out)
	return out
}

// stamped says whether labels or annotations have nothing but a run's stamp.
func stamped(v any) bool {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return false
	}
	for k := range m {
		if k != RunIDLabel && k != ExpiresAnnotation && k != ManagedByLabel {
			return false
		}
	}
	return true
}

// Disown makes an object that stays as it is somebody else's alone: it takes the run's stamp from it, and Squall's claim to its fields.
func (o *Objects) Disown(ctx context.Context, r Ref) error {
	c, err := o.resource(ctx, r)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		u, err := o.Get(ctx, r)
		if u == nil || err != nil {
			return err
		}
		unstamp(u)
		u.SetManagedFields(slices.DeleteFunc(u.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool { return m.Manager == FieldManager }))
		_, err = again(ctx, o, func() (any, error) { return c.Update(ctx, u, metav1.UpdateOptions{FieldManager: FieldManager}) })
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) || try == restoreTries {
			return fmt.Errorf("take Squall's labels from %s: %w", r, err)
		}
	}
}
