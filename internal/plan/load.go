package plan

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"squall/internal/check"
	"squall/internal/load"
	"squall/internal/scenario"
	"squall/internal/step"
)

// load translates a load and checks its target against the services. ok is false when it was reported as wrong.
func (b *builder) load(path string, l *scenario.LoadSpec) (load.Spec, bool) {
	if l == nil {
		b.errs = append(b.errs, b.scenario.Problem(path, "is missing", "give the stage a load, or the baseline"))
		return load.Spec{}, false
	}
	spec := load.Spec{
		URL: loadURL(l.URL), Protocol: load.Protocol(l.Protocol), Method: l.Method, Body: []byte(l.Body), Connections: l.Connections,
		QPS: l.QPS, Requests: l.Requests, Duration: time.Duration(l.Duration), Timeout: time.Duration(l.Timeout), WarmUp: l.WarmUp,
		VersionHeader: l.VersionHeader, Jitter: l.Jitter, Uniform: l.Uniform, NoCatchUp: l.NoCatchUp, Seed: b.scenario.Spec.Seed,
		RequestID: true,
	}
	if spec.Protocol == load.GRPC && spec.Method == http.MethodGet {
		spec.Method = "" // the format's default, which gRPC does not have
	}
	for name, value := range l.Headers {
		spec.Headers = append(spec.Headers, load.Header{Name: name, Value: value})
	}
	for name, p := range l.Find {
		spec.Find = append(spec.Find, load.Find{Name: name, Text: p.Text, Regex: p.Regex})
	}
	slices.SortFunc(spec.Find, func(a, c load.Find) int { return strings.Compare(a.Name, c.Name) })
	slices.SortFunc(spec.Headers, func(a, c load.Header) int { return strings.Compare(a.Name, c.Name) })
	before := len(b.errs)
	b.invalid(path, spec.Validate())
	b.stockLoad(path, l, spec)
	b.target(path, l.URL)
	spec.TLS = b.tls(path+".tls", l.TLS)
	return spec, len(b.errs) == before
}

// invalid reports what package load says is wrong, each as "field: what".
func (b *builder) invalid(path string, err error) {
	if err == nil {
		return
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		field, what, _ := strings.Cut(line, ": ")
		b.errs = append(b.errs, b.scenario.Problem(path+"."+field, what, ""))
	}
}

// isDirect says whether the load goes past the load generator's proxy.
func (b *builder) isDirect(l *scenario.LoadSpec) bool {
	if l != nil && l.Sidecar != nil {
		return !*l.Sidecar
	}
	return !b.scenario.Spec.Client.Sidecar
}

// workers says how many pods make the load's calls.
func (p *Phase) workers(l *scenario.LoadSpec) {
	p.Workers = 1
	if l != nil {
		p.Workers, p.AllowLost = max(1, l.Workers), l.AllowLostWorkers
	}
}

// mostWorkers is how many pods the load generator needs.
func mostWorkers(s *scenario.Scenario) int {
	loads := []*scenario.LoadSpec{s.Spec.Baseline.Load}
	for i := range s.Spec.Stages {
		loads = append(loads, s.Spec.Stages[i].Load)
	}
	most := 1
	for _, l := range loads {
		if l != nil {
			most = max(most, l.Workers)
		}
	}
	return most
}

// signIn translates the request before a load.
func (b *builder) signIn(path string, l *scenario.LoadSpec) *load.SignIn {
	if l == nil || l.SignIn == nil {
		return nil
	}
	s := l.SignIn
	b.target(path+".signIn", s.URL)
	out := &load.SignIn{URL: s.URL, Method: s.Method, Form: s.Form, Bearer: s.Bearer, Timeout: time.Duration(l.Timeout)}
	for name, value := range s.Headers {
		out.Headers = append(out.Headers, load.Header{Name: name, Value: value})
	}
	slices.SortFunc(out.Headers, func(a, c load.Header) int { return strings.Compare(a.Name, c.Name) })
	b.invalid(path+".signIn", out.Validate())
	if strings.HasPrefix(s.URL, "https://") {
		out.TLS = b.tls(path+".tls", l.TLS)
	}
	return out
}

// tls reads the files of a load's TLS; nil is the system's authorities.
func (b *builder) tls(path string, t *scenario.LoadTLS) *load.TLS {
	if t == nil {
		return nil
	}
	read := func(field, file string) []byte {
		if file == "" {
			return nil
		}
		text, err := os.ReadFile(b.near(path+"."+field, file))
		if err != nil {
			b.errs = append(b.errs, b.scenario.Problem(path+"."+field, err.Error(), "paths are relative to the file that names them"))
			return nil
		}
		return text
	}
	before := len(b.errs)
	out := &load.TLS{
		ServerName: t.ServerName, Insecure: t.Insecure, CA: read("ca", t.CA), Cert: read("cert", t.Cert), Key: read("key", t.Key),
	}
	if len(b.errs) > before {
		return out
	}
	if t.CA != "" && len(out.CA) == 0 {
		b.errs = append(b.errs, b.scenario.Problem(path+".ca", t.CA+" holds no certificate in PEM", ""))
	}
	if (len(out.Cert) == 0) != (len(out.Key) == 0) {
		b.errs = append(b.errs, b.scenario.Problem(path+".cert", "the certificate or its key is an empty file", ""))
		return out
	}
	b.invalid(path, out.Validate())
	return out
}

// near is a path relative to the file that names it.
func (b *builder) near(path, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(b.scenario.At(path).File), file)
}

// loadURL is the URL as package load takes it: gRPC is a protocol there and no scheme.
func loadURL(raw string) string {
	if rest, ok := strings.CutPrefix(raw, "grpc://"); ok {
		return "http://" + rest
	}
	return raw
}

// target reports a URL whose host is no service, or whose port the service does not have.
func (b *builder) target(path, raw string) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return // reported by the load's own validation
	}
	set := step.NewSet(b.objects)
	ns := b.scenario.Spec.Namespace
	host, ok := set.Resolve(u.Hostname(), ns)
	if !ok {
		b.errs = append(b.errs, b.scenario.Problem(path+".url", fmt.Sprintf("no service is called %q", u.Hostname()),
			scenario.DidYouMean(u.Hostname(), set.Hosts(ns))))
		return
	}
	for _, o := range b.objects {
		if o.GetKind() == "Service" && o.GetName() == host.Short && o.GetNamespace() == host.Namespace {
			b.port(path, u, o)
		}
	}
}

func (b *builder) port(path string, u *url.URL, service *unstructured.Unstructured) {
	ports, _, err := unstructured.NestedSlice(service.Object, "spec", "ports")
	if err != nil {
		return // the API will refuse it
	}
	var have []string
	for _, p := range ports {
		if m, ok := p.(map[string]any); ok {
			have = append(have, fmt.Sprint(m["port"]))
		}
	}
	if n, err := strconv.Atoi(load.Port(u)); err == nil && !slices.Contains(have, strconv.Itoa(n)) {
		b.errs = append(b.errs, b.scenario.Problem(path+".url", fmt.Sprintf("service %s has no port %d", service.GetName(), n),
			"it has "+strings.Join(have, ", ")))
	}
}

// finds reports names in a statement that its load, or the baseline's that it is compared with, does not look for.
func (b *builder) finds(t scenario.Text, e *check.Expr, spec load.Spec, known bool) {
	for _, f := range e.Finds() {
		if known {
			b.find(t, f, spec, "the load")
		}
		if f.Baseline && len(b.plan.Phases) > 0 && b.plan.Phases[0].Name == check.Baseline && b.plan.Phases[0].Load.URL != "" {
			b.find(t, f, b.plan.Phases[0].Load, "the baseline's load")
		}
	}
}

func (b *builder) find(t scenario.Text, f check.Find, spec load.Spec, whose string) {
	var names []string
	for _, x := range spec.Find {
		names = append(names, x.Name)
	}
	if slices.Contains(names, f.Name) {
		return
	}
	hint := scenario.DidYouMean(f.Name, names)
	if hint == "" {
		hint = "write it into its find"
	}
	b.errs = append(b.errs, scenario.Problem{Pos: t.At(f.Column), What: fmt.Sprintf("%s does not look for %q", whose, f.Name), Hint: hint})
}

// hostOf is the host that a load calls, "" when there is none.
func hostOf(l *scenario.LoadSpec) string {
	if l == nil {
		return ""
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// requestOf is what a load sends, nil when there is none.
func requestOf(l *scenario.LoadSpec) *step.Request {
	if l == nil {
		return nil
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return nil
	}
	return &step.Request{Method: l.Method, Path: u.RequestURI(), Headers: l.Headers}
}
