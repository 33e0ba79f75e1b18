package plan_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"squall/internal/load"
	"squall/internal/plan"
)

// planned plans a scenario whose baseline has a load of its own and whose one stage has the load and the check that are given.
func planned(t *testing.T, spec, load, check string) (*plan.Plan, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := certificate(t)
	write("ca.pem", cert)
	write("key.pem", key)
	write("empty.pem", []byte("nothing"))
	write("x.yaml", []byte(`apiVersion: squall/v1alpha1
kind: Scenario
metadata: {name: x}
spec:
  hypothesis: It holds.
  fixtures: [app]
`+spec+`  baseline:
    load: {url: "http://app:8000/", requests: 50, find: {base: hello}}
    checks: ["ratio(code == 200) >= 1"]
  stages:
  - name: one
    load: {requests: 50, `+load+`}
    checks: ['`+check+`']
`))
	return build(filepath.Join(dir, "x.yaml"), "testdata/fixtures")
}

func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestLoad(t *testing.T) {
	p, err := planned(t, "", `url: "http://app:8000/", sidecar: false, headers: {Host: shop.test},
      find: {star: {regex: "r.d"}, error: "Sorry"},
      signIn: {url: "http://app:8000/login?k=hidden", headers: {X-A: hidden, Host: shop.test}, form: {user: jason, passwd: hidden}}`,
		`count(found("star")) >= 0.1`)
	if err != nil {
		t.Fatal(err)
	}
	one := p.Phases[1]
	if !one.Direct || p.Phases[0].Direct || p.Phases[0].SignIn != nil || p.Recovery.SignIn != nil {
		t.Errorf("%+v", p.Phases)
	}
	if want := []load.Find{{Name: "error", Text: "Sorry"}, {Name: "star", Regex: "r.d"}}; !reflect.DeepEqual(one.Load.Find, want) {
		t.Errorf("finds %+v", one.Load.Find)
	}
	want := load.SignIn{
		URL: "http://app:8000/login?k=hidden", Headers: []load.Header{{Name: "Host", Value: "shop.test"}, {Name: "X-A", Value: "hidden"}},
		Form: map[string]string{"user": "jason", "passwd": "hidden"}, Timeout: 10 * time.Second,
	}
	if !reflect.DeepEqual(*one.SignIn, want) {
		t.Errorf("got %+v", *one.SignIn)
	}
	doc, err := json.Marshal(p.Document())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(doc), p.Document().String()} {
		if strings.Contains(text, "hidden") || !strings.Contains(text, "POST http://app:8000/login with a form of passwd, user, for cookies") {
			t.Errorf("the plan is %s", text)
		}
	}
}

func TestLoadOverTLS(t *testing.T) {
	p, err := planned(t, "", `url: "https://app:8000/", tls: {ca: ca.pem, cert: ca.pem, key: key.pem, serverName: a.test}`, `ratio(error == "tls") < 0.5`)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Phases[1].Load.TLS; len(got.CA) == 0 || len(got.Cert) == 0 || len(got.Key) == 0 || got.ServerName != "a.test" || got.Insecure {
		t.Errorf("%+v", got)
	}
}

func TestLoadsThatAreRefused(t *testing.T) {
	const app = `url: "http://app:8000/", `
	for _, c := range []struct{ name, spec, load, check, want string }{
		{"find nobody knows", "", app + `find: {error: Sorry}`, `count(found("eror")) < 1`, `13:27: the load does not look for "eror" (did you mean "error"?)`},
		{"no find", "", `url: "http://app:8000/"`, `ratio(code == 200 || occurrences("x") > 1) < 1`, `the load does not look for "x" (write it into its find)`},
		{"a find of the stage alone", "", app + `find: {error: Sorry}`, `delta(count(found("error"))) < 1`, `the baseline's load does not look for "error"`},
		{"pattern", "", app + `find: {x: {regex: "("}}`, `p50 < 1s`, "error parsing regexp"},
		{"find in gRPC", "", `url: "grpc://app:8000/", protocol: grpc, find: {x: y}`, `p50 < 1s`, "find: a gRPC ping"},
		{"no such host", "", app + `signIn: {url: "http://ap:8000/"}`, `p50 < 1s`, `signIn.url: no service is called "ap" (did you mean`},
		{"no such port", "", app + `signIn: {url: "http://app:8001/"}`, `p50 < 1s`, "signIn.url: service app has no port 8001"},
		{"sign in by gRPC", "", app + `signIn: {url: "grpc://app:8000/"}`, `p50 < 1s`, "signIn.url: "},
		{"sign in for gRPC", "", `url: "grpc://app:8000/", protocol: grpc, signIn: {url: "http://app:8000/"}`, `p50 < 1s`, "a gRPC ping carries no session"},
		{"framing", "", app + `signIn: {url: "http://app:8000/", headers: {Connection: close}}`, `p50 < 1s`, "signIn.headers: Connection is set by the protocol"},
		{"two sessions", "", app + `headers: {authorization: x}, signIn: {url: "http://app:8000/", bearer: true}`, `p50 < 1s`, "and so has what signing in gives"},
		{"a form by GET", "", app + `signIn: {url: "http://app:8000/", method: GET, form: {a: b}}`, `p50 < 1s`, "a form is not sent with GET"},
		{"no file", "", `url: "https://app:8000/", tls: {ca: gone.pem}`, `p50 < 1s`, "tls.ca: open "},
		{"no certificate", "", `url: "https://app:8000/", tls: {ca: empty.pem}`, `p50 < 1s`, "holds no certificate in PEM"},
		{"no pair", "", `url: "https://app:8000/", tls: {cert: ca.pem, key: empty.pem}`, `p50 < 1s`, "tls.cert: "},
		{"half a pair", "", `url: "https://app:8000/", tls: {cert: ca.pem}`, `p50 < 1s`, "needs both cert and key"},
		{"TLS of nothing", "", app + `tls: {ca: ca.pem}`, `p50 < 1s`, "the URL is not https://"},
		{"no sidecar", "  client: {sidecar: false}\n", app + `sidecar: true`, `p50 < 1s`, "the load generator has no sidecar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := planned(t, c.spec, c.load, c.check)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want …%s…", err, c.want)
			}
		})
	}
}
