package traffic

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Redacted stands in place of a secret.
const Redacted = "REDACTED"

const (
	maxKeys    = 32 // of a query, and of headers
	longSecret = 32 // an unbroken segment of at least so many letters and digits is taken for a secret, if it is no UUID or hash
)

// Rules say what is kept as it is. The zero value keeps the least: of a query the keys alone, of headers those that are known to be
// harmless.
type Rules struct {
	KeepQuery   []string // keys whose values are kept; patterns of path.Match: "page", "sort*"
	KeepHeaders []string // headers whose values are kept, beside the harmless ones; a secret's header cannot be kept
}

// Redactor takes secrets out of what clients sent.
type Redactor struct {
	query, headers []string
	token          *regexp.Regexp
}

// NewRedactor makes one and refuses a pattern that is none.
func NewRedactor(rules Rules) (*Redactor, error) {
	for _, p := range append(append([]string{}, rules.KeepQuery...), rules.KeepHeaders...) {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("pattern %q of what is kept: %w", p, err)
		}
	}
	r := &Redactor{token: regexp.MustCompile(
		`eyJ[\w-]+\.[\w-]+(\.[\w-]*)*|(?i:\b(bearer|basic|token|apikey)[ =:]+[\w.~+/=-]{6,})`)}
	for _, p := range rules.KeepQuery {
		r.query = append(r.query, strings.ToLower(p))
	}
	for _, p := range append([]string{"content-type", "accept", "content-length", "x-request-id", "x-envoy-*", "x-b3-sampled", "grpc-status"}, rules.KeepHeaders...) {
		r.headers = append(r.headers, strings.ToLower(p))
	}
	return r, nil
}

// Path is a request's path with its query's values, parameters and fragment redacted, and segments that look like secrets.
func (r *Redactor) Path(raw string) string {
	raw, _, _ = strings.Cut(raw, "#")
	p, query, has := strings.Cut(raw, "?")
	if i := strings.Index(p, "://"); i >= 0 { // the absolute form: the authority has a field of its own
		p = p[i+3:]
		if i = strings.IndexByte(p, '/'); i < 0 {
			p = "/"
		} else {
			p = p[i:]
		}
	}
	p = r.segments(p)
	if has {
		p += "?" + r.values(query)
	}
	return clean(p, maxPath)
}

// segments redacts the parts of a path that look like secrets, and the parameters behind a semicolon.
func (r *Redactor) segments(p string) string {
	var b strings.Builder
	for i := 0; i <= len(p); {
		end := strings.IndexByte(p[i:], '/')
		if end < 0 {
			end = len(p) - i
		}
		s := p[i : i+end]
		name, params, has := strings.Cut(s, ";")
		if secret(name) {
			name = Redacted
		}
		b.WriteString(name)
		if has {
			key, _, _ := strings.Cut(params, "=")
			b.WriteString(";" + key + "=" + Redacted)
		}
		if i += end; i < len(p) {
			b.WriteByte('/')
		}
		i++
	}
	return b.String()
}

// values keeps a query's keys.
func (r *Redactor) values(query string) string {
	var out []string
	for pair := range strings.SplitSeq(query, "&") {
		if len(out) == maxKeys {
			out = append(out, "…")
			break
		}
		key, value, has := strings.Cut(pair, "=")
		switch {
		case secret(key): // a bare token
			out = append(out, Redacted)
		case has && value != "" && !(matches(r.query, key) && !sensitive(key)):
			out = append(out, key+"="+Redacted)
		default:
			out = append(out, pair)
		}
	}
	return strings.Join(out, "&")
}

// Headers returns what may be kept of them, at most 32, with lower-case names; nil for none. The values of all others are redacted, since
// that one was sent is worth knowing.
func (r *Redactor) Headers(headers map[string]string) map[string]string {
	if len(headers) == 0 {
		return nil
	}
	out := make(map[string]string, min(len(headers), maxKeys))
	for name, value := range headers {
		if len(out) == maxKeys {
			break
		}
		name = clean(strings.ToLower(name), maxShort)
		if !matches(r.headers, name) || sensitive(name) {
			out[name] = Redacted
			continue
		}
		out[name] = clean(r.Text(value), maxText)
	}
	return out
}

// Text redacts what looks like a credential within other text, as clients put them into their user agent.
func (r *Redactor) Text(s string) string {
	if len(s) < 8 || !strings.ContainsAny(s, " =:.") {
		return s
	}
	return r.token.ReplaceAllString(s, Redacted)
}

// authority leaves out user and password.
func (r *Redactor) authority(s string) string {
	return s[strings.LastIndexByte(s, '@')+1:]
}

func matches(patterns []string, name string) bool {
	name = strings.ToLower(name)
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}

// sensitive names are those of secrets, whatever the rules say.
func sensitive(name string) bool {
	name = strings.ToLower(name)
	for _, s := range []string{"authoriz", "cookie", "token", "secret", "passw", "api-key", "apikey", "api_key", "credential", "signature", "session", "client-cert"} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return name == "key" || name == "sig" || name == "auth" || name == "pwd" || name == "code"
}

// secret reports whether a segment looks like a token: a JWT, or long and of mixed letters and digits. UUIDs and hexadecimal hashes are
// names of things, and stay.
func secret(s string) bool {
	if strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") >= 1 && len(s) > 20 {
		return true
	}
	if len(s) < longSecret {
		return false
	}
	var lower, upper, digit, other, hex int
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
			lower++
			if c <= 'f' {
				hex++
			}
		case c >= 'A' && c <= 'Z':
			upper++
			if c <= 'F' {
				hex++
			}
		case c >= '0' && c <= '9':
			digit++
			hex++
		case c == '-' || c == '_' || c == '+' || c == '=' || c == '.' || c == '~' || c == '%':
			other++
		default:
			return false
		}
	}
	if hex+strings.Count(s, "-") == len(s) {
		return false
	}
	return digit > 0 && lower+upper > 0 && other*8 < len(s) && (upper > 0 || digit > len(s)/8)
}
