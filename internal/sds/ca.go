package sds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/url"
	"time"
)

const (
	rootTTL  = 365 * 24 * time.Hour
	backdate = time.Minute // for clocks that differ a little; all of them are on one machine
)

// Identity is who a workload is: its namespace and its service account.
type Identity struct {
	Namespace      string
	ServiceAccount string
}

// String returns namespace/serviceaccount.
func (i Identity) String() string { return i.Namespace + "/" + i.ServiceAccount }

// URI returns the SPIFFE identity, the only subject alternative name of the workload's certificate.
func (i Identity) URI(trustDomain string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount}
}

// authority is a root that lives in memory alone.
type authority struct {
	trustDomain string
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
	rootPEM     []byte
}

// keyPair is one certificate of a workload, as Envoy takes it.
type keyPair struct {
	certPEM, keyPEM []byte
	renew           time.Time // two thirds of its life from its issue
}

// newAuthority makes a root.
func newAuthority(trustDomain string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the root key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{trustDomain}, CommonName: "squall root"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootTTL),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign the root certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the root certificate back: %w", err)
	}
	return &authority{trustDomain: trustDomain, cert: cert, key: key, rootPEM: pemBlock("CERTIFICATE", der)}, nil
}

// issue signs a new key for a workload, valid for ttl from now, or up to a second longer.
func (a *authority) issue(id Identity, ttl time.Duration) (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("make the key of %s: %w", id, err)
	}
	now := time.Now()
	template := &x509.Certificate{
		NotBefore: now.Add(-backdate), NotAfter: now.Add(ttl + time.Second), // a certificate holds whole seconds, cut down
		URIs: []*url.URL{id.URI(a.trustDomain)}, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return keyPair{}, fmt.Errorf("sign the certificate of %s: %w", id, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keyPair{}, fmt.Errorf("encode the key of %s: %w", id, err)
	}
	return keyPair{certPEM: pemBlock("CERTIFICATE", der), keyPEM: pemBlock("PRIVATE KEY", pkcs8), renew: now.Add(ttl * 2 / 3)}, nil
}

// pemBlock encodes der.
func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
