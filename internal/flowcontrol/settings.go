package flowcontrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const settingsPath = "/_cluster/settings"

// Change are settings to make, by their full keys, such as flowcontrol.http.concurrent. A value is a text, a number, a truth value or a
// list of these; nil takes a key back, to the persistent value or the default. It can be written as JSON and read back.
type Change struct {
	Persistent map[string]any `json:"persistent,omitempty"`
	Transient  map[string]any `json:"transient,omitempty"`
}

// Undo reads what a change would change: what it returns makes the settings exactly what they are now. Keep it before Apply.
func (c *Client) Undo(ctx context.Context, change Change) (Change, error) {
	if err := change.check(); err != nil {
		return Change{}, err
	}
	now, err := c.settings(ctx)
	if err != nil {
		return Change{}, err
	}
	return Change{before(change.Persistent, now.Persistent), before(change.Transient, now.Transient)}, nil
}

func before(change, now map[string]any) map[string]any {
	if change == nil {
		return nil
	}
	out := map[string]any{}
	for name := range change {
		out[name] = now[name] // nil where there is none
	}
	return out
}

// Apply makes a change, the undo of one too. The service takes all of it or nothing; what it says against it is an *Error.
func (c *Client) Apply(ctx context.Context, change Change) error {
	if err := change.check(); err != nil {
		return err
	}
	var answer struct {
		Acknowledged bool `json:"acknowledged"`
	}
	if err := c.call(ctx, request{method: http.MethodPut, path: settingsPath, body: change}, &answer); err != nil {
		return err
	}
	if !answer.Acknowledged {
		return errors.New("flow control: the settings were changed, and not all nodes have acknowledged it in time")
	}
	return nil
}

// Holds reports whether the settings are what a change, or the undo of one, makes them; the error names each that is not, as a
// *DifferenceError.
func (c *Client) Holds(ctx context.Context, change Change) error {
	_, err := c.compared(ctx, change)
	return err
}

// compared is what Holds reports, with the settings as they are; these are empty when they are not known.
func (c *Client) compared(ctx context.Context, change Change) (now Change, err error) {
	if err := change.check(); err != nil {
		return Change{}, err
	}
	if now, err = c.settings(ctx); err != nil {
		return Change{}, err
	}
	return now, errors.Join(differences("persistent", change.Persistent, now.Persistent), differences("transient", change.Transient, now.Transient))
}

// InForce is Holds for a change that was made, and has to have its effect: a persistent setting has none below a transient one with another
// value, and that is an error too.
func (c *Client) InForce(ctx context.Context, made Change) error {
	now, err := c.compared(ctx, made)
	return errors.Join(err, hidden(made, now))
}

// hidden are the persistent settings of a change that a transient one wins over, which is none of the change.
func hidden(made, now Change) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(made.Persistent)) {
		_, meant := made.Transient[name]
		over, is := now.Transient[name]
		if w, n := plain(made.Persistent[name]), plain(over); is && !meant && w != n {
			errs = append(errs, &DifferenceError{Scope: "transient", Key: name, Now: n, Want: w, Wins: true})
		}
	}
	return errors.Join(errs...)
}

// HoldsEither reports whether each setting of a change is what the change, or its undo, makes it; the error names each that is neither, as a
// *DifferenceError from the change.
func (c *Client) HoldsEither(ctx context.Context, change, undo Change) error {
	if err := errors.Join(change.check(), undo.check()); err != nil {
		return err
	}
	now, err := c.settings(ctx)
	if err != nil {
		return err
	}
	return errors.Join(neither("persistent", change.Persistent, undo.Persistent, now.Persistent),
		neither("transient", change.Transient, undo.Transient, now.Transient))
}

func neither(scope string, one, other, now map[string]any) error {
	left := map[string]any{}
	for name, value := range one {
		if plain(other[name]) != plain(now[name]) {
			left[name] = value
		}
	}
	return differences(scope, left, now)
}

// DifferenceError is a setting that is not what it should be.
type DifferenceError struct {
	Scope, Key, Now, Want string
	Wins                  bool // it is over the one that was made, which is what it should be and has no effect
}

// State says what the setting is.
func (e *DifferenceError) State() string {
	s := fmt.Sprintf("the %s setting %s is %s", e.Scope, e.Key, e.Now)
	if e.Wins {
		s += ", which wins over the persistent one"
	}
	return s
}

// Error names the setting, and what it is.
func (e *DifferenceError) Error() string {
	if e.Wins {
		return fmt.Sprintf("flow control: %s: it should be %s", e.State(), e.Want)
	}
	return fmt.Sprintf("flow control: %s, and should be %s", e.State(), e.Want)
}

func differences(scope string, want, now map[string]any) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if w, n := plain(want[name]), plain(now[name]); w != n {
			errs = append(errs, &DifferenceError{Scope: scope, Key: name, Now: n, Want: w})
		}
	}
	return errors.Join(errs...)
}

// plain is a value in one form, since Elasticsearch answers with texts whatever it was given.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return "not set"
	case []any:
		var out []string
		for _, one := range v {
			out = append(out, plain(one))
		}
		return "[" + strings.Join(out, " ") + "]"
	case []string:
		return "[" + strings.Join(v, " ") + "]"
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// settings are those that were given, by their full keys.
func (c *Client) settings(ctx context.Context) (Change, error) {
	var now Change
	err := c.call(ctx, request{method: http.MethodGet, path: settingsPath, query: url.Values{"flat_settings": {"true"}}}, &now)
	return now, err
}

// check refuses what could not be taken back exactly.
func (c Change) check() error {
	if len(c.Persistent)+len(c.Transient) == 0 {
		return errors.New("flow control: no setting is given")
	}
	var errs []error
	for _, scope := range []map[string]any{c.Persistent, c.Transient} {
		for _, name := range slices.Sorted(maps.Keys(scope)) {
			if strings.Contains(name, "*") {
				errs = append(errs, fmt.Errorf("flow control: setting %s: write each key, without *: its value could not be taken back", name))
			}
			if _, nested := scope[name].(map[string]any); nested {
				errs = append(errs, fmt.Errorf("flow control: setting %s: write full keys, such as %s.enabled, in place of an object", name, name))
			}
		}
	}
	return errors.Join(errs...)
}
