package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/net/http2"
)

// The kinds of a record.Request's Error.
const (
	kindRefused  = "refused"
	kindReset    = "reset"
	kindTimeout  = "timeout"
	kindEOF      = "eof"
	kindCanceled = "canceled"
	kindDNS      = "dns"
	kindTLS      = "tls"
	kindOther    = "other"
)

// handshakeError marks an error of the TLS handshake.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "tls handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// kindOf is why a call got no answer.
func kindOf(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return kindDNS
	case isTLS(err):
		return kindTLS
	case errors.Is(err, context.Canceled):
		return kindCanceled
	case isTimeout(err):
		return kindTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return kindRefused
	case isReset(err):
		return kindReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return kindEOF
	}
	var handshake *handshakeError
	if errors.As(err, &handshake) {
		return kindTLS
	}
	return kindOther
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || (errors.As(err, &n) && n.Timeout())
}

func isReset(err error) bool {
	var stream http2.StreamError
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.As(err, &stream)
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var verify *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") {
		return true // crypto/tls says so of alerts, whose type is its own
	}
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verify) || errors.As(err, &invalid) ||
		errors.As(err, &host) || errors.As(err, &authority)
}

// isOurs says that the machine of the load generator is at fault, not the target: no verdict can rest on such a load.
func isOurs(err error) bool {
	for _, e := range []error{syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
