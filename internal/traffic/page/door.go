package page

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

const (
	// MinToken is how long a token has to be: one that cannot be guessed needs no limit of guesses.
	MinToken = 16
	maxLogin = 4 << 10 // bytes of the form
	policy   = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; " +
		"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

// secure sets what every answer has.
func secure(h http.Header) {
	for name, value := range map[string]string{
		"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		"Permissions-Policy": "camera=(), microphone=(), geolocation=()",
	} {
		h.Set(name, value)
	}
}

// NewToken makes a token that nobody guesses.
func NewToken() string { return rand.Text() }

// loopbackHost reports whether a Host header names this machine by itself.
func loopbackHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback()
}

// door lets those in who have the token. The zero value lets in everybody.
type door struct {
	token   []byte // its hash, so that comparing takes the same time for any length
	session string // the cookie of who has shown the token; it is of this process alone
	cookie  string // its name: browsers do not tell ports of a host apart
	cross   *http.CrossOriginProtection
}

func newDoor(token string) (*door, error) {
	d := &door{cross: http.NewCrossOriginProtection()}
	if token == "" {
		return d, nil
	}
	key := make([]byte, 40)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a session: %w", err)
	}
	hash := sha256.Sum256([]byte(token))
	mac := hmac.New(sha256.New, key[:32])
	mac.Write(hash[:])
	d.token, d.session, d.cookie = hash[:], hex.EncodeToString(mac.Sum(nil)), "squall-"+hex.EncodeToString(key[32:])
	return d, nil
}

// has reports whether a token is the right one.
func (d *door) has(token string) bool {
	hash := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(hash[:], d.token) == 1
}

// open reports whether a request may pass.
func (d *door) open(r *http.Request) bool {
	if d.token == nil {
		return true
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return d.has(strings.TrimSpace(token))
	}
	c, err := r.Cookie(d.cookie)
	return err == nil && subtle.ConstantTimeCompare([]byte(c.Value), []byte(d.session)) == 1
}

// known passes on who has the token, and shows the others the way.
func (p *Page) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case p.door.open(r):
			next(w, r)
		case r.Header.Get("Authorization") == "" && strings.Contains(r.Header.Get("Accept"), "text/html"):
			p.send(w, http.StatusUnauthorized, "login", &screen{Title: "Sign in", Page: p, Back: r.URL.RequestURI()})
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="squall"`)
			p.sendJSON(w, http.StatusUnauthorized, map[string]string{"error": "this page needs its token: send it as Authorization: Bearer TOKEN"})
		}
	}
}

func (p *Page) loginForm(w http.ResponseWriter, r *http.Request) {
	if p.door.token == nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	p.send(w, http.StatusOK, "login", &screen{Title: "Sign in", Page: p, Back: "/"})
}

// login takes the token of the form, and gives a cookie that only this host gets back, and no script sees.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	if err := p.door.cross.Check(r); err != nil {
		p.fail(w, r, http.StatusForbidden, errors.New("the form was sent by another site"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	if err := r.ParseForm(); err != nil {
		p.fail(w, r, http.StatusBadRequest, fmt.Errorf("the form cannot be read: %w", err))
		return
	}
	back := here(r.PostForm.Get("back"))
	if p.door.token != nil && !p.door.has(strings.TrimSpace(r.PostForm.Get("token"))) {
		p.send(w, http.StatusUnauthorized, "login", &screen{Title: "Sign in", Page: p, Back: back, Error: "That is not the token. Squall has printed it where it was started."})
		return
	}
	if p.door.token != nil {
		p.setCookie(w, r, p.door.session, 0)
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (p *Page) logout(w http.ResponseWriter, r *http.Request) {
	if err := p.door.cross.Check(r); err != nil {
		p.fail(w, r, http.StatusForbidden, errors.New("the form was sent by another site"))
		return
	}
	if p.door.token != nil {
		p.setCookie(w, r, "", -1)
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (p *Page) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: p.door.cookie, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

// here is an address on this host, or the first page: a form does not send anybody elsewhere.
func here(address string) string {
	if !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") || strings.ContainsAny(address, "\\\r\n\t") {
		return "/"
	}
	return address
}
