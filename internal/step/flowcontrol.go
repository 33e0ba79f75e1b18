package step

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"squall/internal/fields"
	"squall/internal/flowcontrol"
	"squall/internal/flowcontrol/settings"
	"squall/internal/scenario"
)

// SettingsChange is what a step changes of the flow control of a service.
type SettingsChange struct {
	Step   string
	At     flowcontrol.Place
	Change flowcontrol.Change
	For    time.Duration // after which it is taken back; 0 is at the rollback
	Block  bool          // it is Elasticsearch's own block of writes, which no flow control counts
}

// String says what is set, and where.
func (s SettingsChange) String() string {
	var parts []string
	for scope, values := range map[string]map[string]any{"persistent": s.Change.Persistent, "transient": s.Change.Transient} {
		for _, name := range sortedKeys(values) {
			parts = append(parts, fmt.Sprintf("%s: %s (%s)", name, settingText(values[name]), scope))
		}
	}
	text := "sets at " + s.At.String() + " " + strings.Join(parts, ", ")
	if s.For > 0 {
		text += " for " + s.For.String()
	}
	return text
}

func settingText(v any) string {
	if v == nil {
		return "its default"
	}
	return strings.Trim(fmt.Sprint(v), "[]")
}

func flowControl(c *compiler, s scenario.Step) {
	spec := s.Spec.(*scenario.FlowControl)
	at, ok := c.flowPlace(spec)
	values := map[string]any{}
	block := isBlock(spec)
	if block && len(spec.Settings) > 1 {
		c.problem("settings", "has one of cluster.blocks beside other settings, and Elasticsearch takes a block back only by itself", "write a step of its own for it")
		return
	}
	for _, name := range sortedKeys(spec.Settings) {
		value := spec.Settings[name].Value
		field := scenario.Field("settings", name)
		if c.isSetting(field, name, value, spec.URL != "") && c.claim("the flow control of "+spec.Service, name, field, settingText(value)) {
			values[name] = value
		}
	}
	if !ok || len(values) == 0 {
		return
	}
	change := flowcontrol.Change{Persistent: values}
	if spec.Scope == "transient" {
		change = flowcontrol.Change{Transient: values}
	}
	c.settings = append(c.settings, SettingsChange{Step: s.String(), At: at, Change: change, For: time.Duration(spec.For), Block: block})
}

func isBlock(spec *scenario.FlowControl) bool {
	return slices.ContainsFunc(sortedKeys(spec.Settings), settings.IsBlock)
}

// isSetting reports a key or a value that flow control does not take. A service outside of the mesh may have keys that are not known here;
// it says itself what it does not take.
func (c *compiler) isSetting(field, name string, value any, outside bool) bool {
	if !strings.HasPrefix(name, settings.Prefix) && !settings.IsBlock(name) {
		c.problem(field, "is no setting of flow control: their keys begin with "+settings.Prefix,
			"write full keys, such as flowcontrol.http.concurrent; of Elasticsearch's own there are cluster.blocks.read_only and cluster.blocks.read_only_allow_delete")
		return false
	}
	if strings.Contains(name, "*") {
		c.problem(field, "has a * in it, so that its value could not be taken back", "write each key")
		return false
	}
	switch err := settings.Check(name, value); {
	case err == nil, errors.Is(err, settings.ErrUnknown) && outside:
		return true
	case errors.Is(err, settings.ErrUnknown):
		c.problem(field, err.Error(), scenario.DidYouMean(name, settings.Names()))
	default:
		c.problem(field, err.Error(), "")
	}
	return false
}

// flowPlace is where the step's service is asked; ok is false when that was reported.
func (c *compiler) flowPlace(spec *scenario.FlowControl) (at flowcontrol.Place, ok bool) {
	if spec.URL != "" {
		at, ok = flowcontrol.Place{Name: spec.Service, URL: spec.URL}, true
	} else {
		at, ok = c.servicePlace(spec)
	}
	if cr := spec.Credentials; cr != nil {
		file := func(field, path string) string {
			if path == "" {
				return ""
			}
			return c.step.Resolve("credentials."+field, path)
		}
		at.Credentials = flowcontrol.Credentials{
			Username: cr.Username,
			Password: flowcontrol.Secret{Env: cr.PasswordEnv, File: file("passwordFile", cr.PasswordFile)},
			APIKey:   flowcontrol.Secret{Env: cr.APIKeyEnv, File: file("apiKeyFile", cr.APIKeyFile)},
			CAFile:   file("caFile", cr.CAFile),
		}
	}
	return at, ok
}

func (c *compiler) servicePlace(spec *scenario.FlowControl) (at flowcontrol.Place, ok bool) {
	if _, ok := c.host("service", spec.Service); !ok {
		return at, false
	}
	at, ok = FlowPlace(c.set, spec.Service, c.opts.Namespace)
	if !ok {
		c.problem("service", spec.Service+" is no Service of Kubernetes with a port", "write url for what is not in the mesh")
		return at, false
	}
	if spec.Port == 0 {
		return at, true
	}
	h, _ := c.set.Resolve(spec.Service, c.opts.Namespace)
	if !slices.ContainsFunc(fields.Maps(specOf(h.service), "ports"), func(p map[string]any) bool { return p["port"] == int64(spec.Port) }) {
		c.problem("port", fmt.Sprintf("the Service %s has no port %d", h.Short, spec.Port), "")
		return at, false
	}
	at.Port = int(spec.Port)
	return at, true
}

// FlowPlace is where Squall asks the flow control of a Service: at its port with admin in its name, which counts nobody, else at its first.
func FlowPlace(set *Set, name, namespace string) (at flowcontrol.Place, ok bool) {
	h, ok := set.Resolve(name, namespace)
	if !ok || h.service == nil || h.service.GetKind() != "Service" {
		return at, false
	}
	at = flowcontrol.Place{Name: name, Namespace: h.Namespace, Service: h.Short, Port: int(firstPort(h))}
	for _, p := range fields.Maps(specOf(h.service), "ports") {
		if n, is := p["port"].(int64); is && strings.Contains(str(p, "name"), "admin") {
			at.Port = int(n)
			break
		}
	}
	return at, at.Port != 0
}

// over are settings with those of a change on top. Which scope they are of is left out: a transient setting wins, and is made last.
func over(base map[string]any, change flowcontrol.Change) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	maps.Copy(out, change.Persistent)
	maps.Copy(out, change.Transient)
	return out
}

// Over are the settings of services, by their names, with those of the changes on top.
func Over(base map[string]map[string]any, changes []SettingsChange) map[string]map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]map[string]any{}
	}
	for _, c := range changes {
		out[c.At.Name] = over(out[c.At.Name], c.Change)
	}
	return out
}

// callsFlow says whether the load calls the service itself.
func (c *compiler) callsFlow(spec *scenario.FlowControl) bool {
	if spec.URL != "" {
		u, err := url.Parse(spec.URL)
		return err == nil && u.Hostname() == c.opts.Target
	}
	h, ok := c.set.Resolve(spec.Service, c.opts.Namespace)
	return ok && c.isTarget(h)
}
