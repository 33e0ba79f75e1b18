package plan

import (
	"fmt"

	"squall/internal/load"
	"squall/internal/load/fortiorest"
	"squall/internal/scenario"
)

// loadContainer is the container of the load generator's pods.
func (b *builder) loadContainer() map[string]any {
	if b.opts.Generator != Fortio {
		return map[string]any{"name": "load", "image": b.opts.LoadImage}
	}
	var args []any
	for _, a := range fortiorest.Args() {
		args = append(args, a)
	}
	return map[string]any{"name": "load", "image": fortiorest.Image, "args": args}
}

// stockClient reports a client that the stock image cannot be.
func (b *builder) stockClient() {
	if b.opts.Generator == Fortio && !b.scenario.Spec.Client.Sidecar {
		b.unsupported("spec.client.sidecar", "Fortio tells of no single call, and without a sidecar there is no access log to take them from")
	}
}

// stockLoad reports what of a load Fortio's REST API cannot do, or does not tell of.
func (b *builder) stockLoad(path string, l *scenario.LoadSpec, spec load.Spec) {
	if b.opts.Generator != Fortio {
		return
	}
	for _, u := range fortiorest.Check(spec) {
		b.unsupported(path+"."+u.Field, u.What)
	}
	if l.SignIn != nil {
		b.unsupported(path+".signIn", "Fortio does not keep the cookies or the token of an answer")
	}
	if l.Workers > 1 {
		b.unsupported(path+".workers", fmt.Sprintf("servers of Fortio do not start at the same instant, and this load is for %d", l.Workers))
	}
	if l.Sidecar != nil && !*l.Sidecar {
		b.unsupported(path+".sidecar", "Fortio tells of no single call, and past the sidecar there is no access log to take them from")
	}
}

func (b *builder) unsupported(path, what string) {
	b.errs = append(b.errs, b.scenario.Problem(path, what, fortiorest.Hint))
}

// Lost says what a load by the generator does not have: nothing for Squall's own.
func (g Generator) Lost() []fortiorest.Loss {
	if g != Fortio {
		return nil
	}
	return fortiorest.Losses()
}
