package load

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// TLS says whom a load trusts and who it is, in a form that can be sent to a worker. Its zero value trusts the system's
// authorities and has no certificate.
type TLS struct {
	CA         []byte `json:"ca,omitempty"` // certificates of authorities in PEM; empty: the system's
	Cert       []byte `json:"cert,omitempty"`
	Key        []byte `json:"key,omitempty"`        // of Cert, in PEM
	ServerName string `json:"serverName,omitempty"` // the name that the certificate has to be for; empty: the URL's host
	Insecure   bool   `json:"insecure,omitempty"`   // any certificate will do
}

// Validate returns all that is wrong, joined, each as "field: what".
func (t *TLS) Validate() error {
	_, err := t.config()
	return err
}

// config is what crypto/tls takes for it; nil is as its zero value.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return &tls.Config{}, nil
	}
	var errs []error
	cfg := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.Insecure} //nolint:gosec // the author asks for it
	if len(t.CA) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(t.CA) {
			errs = append(errs, errors.New("ca: it holds no certificate in PEM"))
		}
	}
	if len(t.Cert) > 0 || len(t.Key) > 0 {
		pair, err := tls.X509KeyPair(t.Cert, t.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("cert: %w", err))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, errors.Join(errs...)
}
