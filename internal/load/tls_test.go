package load

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// authority signs certificates of the test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return authority{cert, key}
}

func inPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// trust is who trusts the authority, and may have a certificate of its own.
func (a authority) trust(t *testing.T, name string, own ...tls.Certificate) *TLS {
	t.Helper()
	out := &TLS{CA: inPEM("CERTIFICATE", a.cert.Raw), ServerName: name}
	for _, c := range own {
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		must(t, err)
		out.Cert, out.Key = inPEM("CERTIFICATE", c.Certificate[0]), inPEM("PRIVATE KEY", key)
	}
	return out
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue makes a certificate for a name that ends in a time from now.
func (a authority) issue(t *testing.T, name string, ends time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(ends),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Each reason why a certificate is refused is an error of the kind tls, whose text is in load.json, and no request is sent.
func TestCertificates(t *testing.T) {
	noLeak(t)
	ours, other := newAuthority(t), newAuthority(t)
	const name = "bookinfo.example.com"
	good, expired := ours.issue(t, name, time.Hour), ours.issue(t, name, -time.Minute)
	trusting := ours.trust(t, name)
	for _, c := range []struct {
		what    string
		server  *tls.Config
		client  *TLS
		failure string // part of the error's text; none: it works
	}{
		{"good", &tls.Config{Certificates: []tls.Certificate{good}}, trusting, ""},
		{"expired", &tls.Config{Certificates: []tls.Certificate{expired}}, trusting, "certificate has expired"},
		{"expired, and not looked at", &tls.Config{Certificates: []tls.Certificate{expired}}, &TLS{Insecure: true}, ""},
		{"unknown authority", &tls.Config{Certificates: []tls.Certificate{other.issue(t, name, time.Hour)}}, trusting, "unknown authority"},
		{"the system's authorities", &tls.Config{Certificates: []tls.Certificate{good}}, nil, "certificate"},
		{"wrong name", &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "else.example.com", time.Hour)}}, trusting, "else.example.com"},
		{"the URL's host is no name", &tls.Config{Certificates: []tls.Certificate{good}}, ours.trust(t, ""), "127.0.0.1"},
		{"a client without certificate", &tls.Config{
			Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool(), MaxVersion: tls.VersionTLS12,
		}, trusting, "handshake failure"},
		{"a client with one", &tls.Config{
			Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool(),
		}, ours.trust(t, name, ours.issue(t, "client", time.Hour)), ""},
	} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Version", r.Proto)
		}))
		srv.EnableHTTP2 = true
		srv.TLS = c.server
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		for p, proto := range map[Protocol]string{HTTP1: "HTTP/1.1", H2: "HTTP/2.0"} {
			l, all := run(t.Context(), t, Spec{URL: srv.URL, Protocol: p, TLS: c.client, Connections: 2, Requests: 4, VersionHeader: "X-Version"})
			for _, q := range all {
				if c.failure == "" && (q.Code != 200 || q.Version != proto) || c.failure != "" && (q.Error != "tls" || q.Code != 0) {
					t.Errorf("%s, %s: %+v, %v", c.what, p, q, l.Errors)
				}
			}
			if c.failure != "" && !strings.Contains(l.Errors["tls"], c.failure) {
				t.Errorf("%s, %s: the error is %q, want …%s…", c.what, p, l.Errors["tls"], c.failure)
			}
		}
		srv.Close()
	}
}

// A server that speaks no HTTP/2 is not taken for one that does.
func TestProtocolIsAgreedOn(t *testing.T) {
	ours := newAuthority(t)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, "a.test", time.Hour)}, NextProtos: []string{"http/1.1"}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	client := ours.trust(t, "a.test")
	l, all := run(t.Context(), t, Spec{URL: srv.URL, Protocol: H2, TLS: client, Connections: 1, Requests: 1})
	if all[0].Error != "tls" || !strings.Contains(l.Errors["tls"], "no application protocol") {
		t.Errorf("%+v, %v", all[0], l.Errors)
	}
	if _, all = run(t.Context(), t, Spec{URL: srv.URL, TLS: client, Connections: 1, Requests: 1}); all[0].Code != 200 {
		t.Errorf("%+v", all[0])
	}
}
