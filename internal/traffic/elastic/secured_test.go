package elastic

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"squall/internal/traffic/store"
	"squall/internal/traffic/traffictest"
)

const (
	user     = "squall-writer"
	password = "hunter2-Hunter2"
	apiKey   = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="
)

// authority signs servers' certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// sign makes a certificate of 127.0.0.1, unless change makes it another's.
func (a *authority) sign(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "elasticsearch"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secured stands before the real node, as the security that its artifact lacks: it takes TLS and one user or one API key, and answers as
// Elasticsearch does.
type secured struct {
	url     string
	refuse  atomic.Int64 // what bulk requests are answered with
	items   atomic.Bool  // of an answer of 200, each item is refused
	tries   atomic.Int64 // connections
	asked   atomic.Int64 // requests that had no or another secret
	refused atomic.Int64
}

func newSecured(t testing.TB, cert tls.Certificate, authorization string) *secured {
	t.Helper()
	target, err := url.Parse(node.server.URL)
	must(t, err)
	s := &secured{}
	through := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Authorization")
	}}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch bulk := strings.HasSuffix(r.URL.Path, "/_bulk"); {
		case r.Header.Get("Authorization") != authorization:
			s.asked.Add(1)
			unauthorized(w)
		case bulk && s.items.Load():
			s.refused.Add(1)
			forbidItems(w, r)
		case bulk && s.refuse.Load() == http.StatusUnauthorized:
			s.refused.Add(1)
			unauthorized(w)
		case bulk && s.refuse.Load() == http.StatusForbidden:
			s.refused.Add(1)
			answer4xx(w, http.StatusForbidden, `{"error":{"root_cause":[],"type":"security_exception","reason":"`+forbidden+`"},"status":403}`)
		default:
			through.ServeHTTP(w, r)
		}
	}))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	srv.Config.ErrorLog = log.New(&bytes.Buffer{}, "", 0)
	srv.Config.ConnState = func(_ net.Conn, is http.ConnState) {
		if is == http.StateNew {
			s.tries.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

const forbidden = "action [indices:data/write/bulk[s]] is unauthorized for user [squall-writer] on indices [x], this action is granted by the index privileges [create_doc,create,index,write,all]"

func answer4xx(w http.ResponseWriter, status int, body string) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Add("WWW-Authenticate", `Basic realm="security", charset="UTF-8"`)
	w.Header().Add("WWW-Authenticate", "ApiKey")
	answer4xx(w, http.StatusUnauthorized, `{"error":{"root_cause":[{"type":"security_exception","reason":"unable to authenticate user"}],"type":"security_exception","reason":"unable to authenticate user"},"status":401}`)
}

// forbidItems is what a user gets who may send a bulk request and not write to its index.
func forbidItems(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	item := `{"create":{"status":403,"error":{"type":"security_exception","reason":"` + forbidden + `"}}}`
	n := bytes.Count(body.Bytes(), []byte("\n")) / 2
	answer4xx(w, http.StatusOK, `{"errors":true,"items":[`+strings.TrimSuffix(strings.Repeat(item+",", n), ",")+`]}`)
}

func basic() string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// parsed is a configuration as a user writes it, with indices of the test's own.
func parsed(t testing.TB, s *secured, lines ...string) Config {
	t.Helper()
	own := config(t)
	c, err := ParseConfig([]byte(strings.Join(append(lines, "ds_driver: Elastic", "url: "+s.url, "index: "+own.Index), "\n") + "\n"))
	must(t, err)
	return c
}

func indented(pem []byte) string {
	return "ca: |\n  " + strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n  ")
}

// noSecret fails when what is shown has a secret in it, in whatever form it is sent.
func noSecret(t testing.TB, shown ...any) {
	t.Helper()
	text := fmt.Sprintf("%v %+v %#v", shown, shown, shown)
	for _, s := range []string{password, apiKey, strings.TrimPrefix(basic(), "Basic ")} {
		if strings.Contains(text, s) {
			t.Errorf("a secret is shown: %s", text)
		}
	}
}

// Both ways to say who asks, over TLS of an authority that only the configuration names.
func TestSecured(t *testing.T) {
	ca := newAuthority(t, "own")
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(caFile, ca.pem, 0o600))
	for name, c := range map[string]struct {
		authorization string
		lines         []string
	}{
		"passworld": {basic(), []string{"username: " + user, "passworld: " + password, indented(ca.pem)}},
		"password":  {basic(), []string{"username: " + user, "password: " + password, "ca_file: " + caFile}},
		"api_key":   {"ApiKey " + apiKey, []string{"api_key: " + apiKey, indented(ca.pem)}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSecured(t, ca.sign(t, nil), c.authorization)
			cfg := parsed(t, s, c.lines...)
			st := opened(t, cfg)
			must(t, errors.Join(st.Put(t.Context(), traffictest.Some(200, time.Minute, 1)), st.Flush(t.Context())))
			if n := stored(t, st); n != 200 || s.asked.Load() != 0 {
				t.Errorf("%d are there, %d requests had no or another secret: %v", n, s.asked.Load(), st.Account())
			}
			r, err := OpenReader(t.Context(), cfg)
			must(t, err)
			groups, err := r.Groups(t.Context(), store.Filter{})
			if err != nil || len(groups) != 1 || groups[0].Summary.Records != 200 {
				t.Errorf("the reader has %+v, %v", groups, err)
			}
			text, err := json.Marshal(cfg)
			must(t, err)
			noSecret(t, cfg, string(text), st.Account())
		})
	}
}

// What is wrong with the way to the server, or with who asks, is said at once, with what to do, by the store and by the page's reader.
func TestSecuredRefused(t *testing.T) {
	ca, other := newAuthority(t, "own"), newAuthority(t, "other")
	good := ca.sign(t, nil)
	ok := []string{"username: " + user, "password: " + password}
	for name, c := range map[string]struct {
		cert  tls.Certificate
		lines []string
		want  []string
	}{
		"another authority": {good, append(ok, indented(other.pem)), []string{"unknown authority", "ca", "ca_file"}},
		"no authority":      {good, ok, []string{"unknown authority", "ca", "ca_file"}},
		"expired":           {ca.sign(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), append(ok, indented(ca.pem)), []string{"expired", "renew"}},
		"another name":      {ca.sign(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"es.example"} }), append(ok, indented(ca.pem)), []string{"127.0.0.1", "url", "name"}},
		"another password":  {good, []string{"username: " + user, "password: x" + password, indented(ca.pem)}, []string{"401", "check username and password"}},
		"another key":       {good, []string{"api_key: x" + apiKey, indented(ca.pem)}, []string{"401", "api_key"}},
		"nobody":            {good, []string{indented(ca.pem)}, []string{"401", "username and password"}},
		"nothing":           {good, append(ok, indented(ca.pem)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSecured(t, c.cert, basic())
			cfg := parsed(t, s, c.lines...)
			st, err := Open(t.Context(), cfg)
			if err == nil {
				must(t, st.Close(t.Context()))
			}
			tries := s.tries.Load()
			_, err2 := OpenReader(t.Context(), cfg)
			if c.want == nil {
				must(t, errors.Join(err, err2))
				return
			}
			for who, err := range map[string]error{"the store": err, "the reader": err2} {
				for _, want := range append(c.want, s.url) {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s lacks %q: %v", who, want, err)
					}
				}
			}
			if tries != 1 {
				t.Errorf("it was tried on %d connections", tries)
			}
			noSecret(t, err, err2)
			t.Log(err)
		})
	}
}

// A server that speaks TLS, asked without it, and one that does not, asked with it.
func TestSchemeOfOther(t *testing.T) {
	ca := newAuthority(t, "own")
	s := newSecured(t, ca.sign(t, nil), basic())
	for at, want := range map[string]string{strings.Replace(s.url, "https://", "http://", 1): "write https://", strings.Replace(node.server.URL, "http://", "https://", 1): "write http://"} {
		c := config(t)
		c.URLs, c.Username, c.Password = []string{at}, user, password
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", at, err)
		} else {
			noSecret(t, err)
			t.Log(err)
		}
	}
}

// Who may no longer write, or is no longer known, for a time: with a spool nothing is lost, and the account says why it waits.
func TestRefusedLater(t *testing.T) {
	ca := newAuthority(t, "own")
	for name, c := range map[string]struct {
		status int64
		items  bool
		want   []string
	}{
		"401": {http.StatusUnauthorized, false, []string{"401", "check username and password"}}, "403": {http.StatusForbidden, false, []string{"403", "is unauthorized for user"}},
		"403 of items": {0, true, []string{"403", "is unauthorized for user"}},
	} {
		for _, spool := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, spool %t", name, spool), func(t *testing.T) {
				s := newSecured(t, ca.sign(t, nil), basic())
				cfg := parsed(t, s, "username: "+user, "password: "+password, indented(ca.pem))
				if spool {
					cfg.Spool = filepath.Join(t.TempDir(), "spool")
				}
				st := opened(t, cfg)
				s.refuse.Store(c.status)
				s.items.Store(c.items)
				must(t, st.Put(t.Context(), traffictest.Some(300, time.Minute, 1)))
				until(t, st, func(a store.Account) bool { return a.Spooled == 300 || !spool && s.refused.Load() > 3 })
				a := st.Account()
				for _, want := range c.want {
					if !strings.Contains(a.LastError, want) || a.Lost() > 0 || a.Stored > 0 || !a.Balanced() {
						t.Errorf("it lacks %q: %v, %s", want, a, a.LastError)
					}
				}
				short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				flushed := st.Flush(short)
				if flushed == nil {
					t.Error("all is stored, it says")
				}
				noSecret(t, a, a.LastError, flushed)
				s.refuse.Store(0)
				s.items.Store(false)
				must(t, st.Flush(t.Context()))
				if a := st.Account(); stored(t, st) != 300 || a.Stored != 300 || !a.Balanced() {
					t.Errorf("%v", a)
				}
			})
		}
	}
}
