package load

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// login is a site that gives sessions in several ways.
func login(w http.ResponseWriter, r *http.Request) {
	set := func(c http.Cookie) { http.SetCookie(w, &c) }
	switch r.URL.Path {
	case "/login":
		if r.Method != http.MethodPost || r.FormValue("username") != "jason" || r.Header.Get("X-Tenant") != "a" || r.Host != "shop.test" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		set(http.Cookie{Name: "session", Value: "user=jason", Path: "/"})
		set(http.Cookie{Name: "lang", Value: "en", Path: "/shop"})
		set(http.Cookie{Name: "admin", Value: "no", Path: "/admin"})
		set(http.Cookie{Name: "tls", Value: "x", Path: "/", Secure: true})
		set(http.Cookie{Name: "old", Value: "x", Path: "/", MaxAge: -1})
		set(http.Cookie{Name: "foreign", Value: "x", Path: "/", Domain: "else.test"})
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	case "/token":
		_, _ = w.Write([]byte("  abc.def.ghi\n"))
	case "/prose":
		_, _ = w.Write([]byte("no token today"))
	case "/admin-only":
		set(http.Cookie{Name: "admin", Value: "1", Path: "/admin"})
	case "/nothing":
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

func TestSignIn(t *testing.T) {
	site, _ := counted(t, login)
	dial := strings.TrimPrefix(site, "http://")
	of := Spec{URL: "http://shop.test/shop/list"}
	viaGateway := Spec{URL: "http://gateway:80/shop/list", Headers: []Header{{"host", "shop.test"}}}
	form := map[string]string{"username": "jason", "passwd": "secret&word"}
	for name, c := range map[string]struct {
		in   SignIn
		of   Spec
		want Header
	}{
		"form": {SignIn{URL: "http://shop.test/login", Form: form, Headers: []Header{{"X-Tenant", "a"}}}, of,
			Header{"Cookie", "lang=en; session=user=jason"}},
		"by the host header": {SignIn{URL: "http://gateway/login", Form: form, Headers: []Header{{"X-Tenant", "a"}, {"Host", "shop.test"}}}, viaGateway,
			Header{"Cookie", "lang=en; session=user=jason"}},
		"token": {SignIn{URL: "http://issuer/token?secret=1", Bearer: true}, of, Header{"Authorization", "Bearer abc.def.ghi"}},
	} {
		c.in.Dial = dial
		got, err := c.in.Do(t.Context(), c.of)
		if err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
}

func TestSignInThatFails(t *testing.T) {
	site, _ := counted(t, login)
	stalling, _ := stall()
	slow, _ := counted(t, stalling)
	dial, slowly := strings.TrimPrefix(site, "http://"), strings.TrimPrefix(slow, "http://")
	of := Spec{URL: "http://shop.test/shop"}
	form := map[string]string{"username": "jason", "passwd": "secret"}
	for want, s := range map[string]SignIn{
		"sign in at http://shop.test/login: it answered 401 Unauthorized: who are you?":                 {URL: "http://shop.test/login?passwd=secret", Dial: dial, Form: form},
		"sign in at http://shop.test/nothing: it answered 200 OK without a cookie":                      {URL: "http://shop.test/nothing", Dial: dial},
		"it answered 200 OK, with 0 bytes that are no token":                                            {URL: "http://shop.test/nothing", Dial: dial, Bearer: true},
		"it answered 200 OK, with 14 bytes that are no token":                                           {URL: "http://shop.test/prose", Dial: dial, Bearer: true},
		"it answered 418 I'm a teapot":                                                                  {URL: "http://shop.test/x", Dial: dial, Bearer: true},
		"sign in at http://shop.test/login: dial tcp 127.0.0.1:1: connect: connection refused":          {URL: "http://shop.test/login?passwd=secret", Dial: "127.0.0.1:1", Form: form},
		"sign in at http://shop.test/login: no answer within 50ms":                                      {URL: "http://shop.test/login", Dial: slowly, Timeout: 50 * time.Millisecond},
		"sign in at https://shop.test/login: tls: first record does not look like a TLS handshake":      {URL: "https://shop.test/login", Dial: dial},
		`sign in at http://shop.test/login: net/http: invalid method "A B"`:                             {URL: "http://shop.test/login", Dial: dial, Method: "A B"},
		"sign in at http://sh op/: parse \"http://sh op/\": invalid character \" \" in host name":       {URL: "http://sh op/", Dial: dial},
		"it answered 200 OK with cookies that http://shop.test/shop does not get (admin): see their do": {URL: "http://shop.test/admin-only", Dial: dial},
	} {
		got, err := s.Do(t.Context(), of)
		if err == nil || got != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %q, %v\nwant …%s…", got, err, want)
		}
	}
}

func TestSignInValidateAndString(t *testing.T) {
	s := SignIn{URL: "http://a/login?token=hidden", Form: map[string]string{"b": "hidden", "a": "hidden"}, Headers: []Header{{"X", "hidden"}}}
	if got := s.String(); got != "POST http://a/login with a form of a, b, for cookies" {
		t.Errorf("got %q", got)
	}
	s = SignIn{URL: "http://a/t", Bearer: true}
	if got := s.String(); got != "GET http://a/t, for a token" {
		t.Errorf("got %q", got)
	}
	s = SignIn{URL: "grpc://a", Method: "A B", Headers: []Header{{"Connection", "x"}}}
	for _, want := range []string{"url: ", "method: ", "headers: "} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// The session's headers reach the target with each call of the load.
func TestSessionIsSent(t *testing.T) {
	for _, p := range []Protocol{HTTP1, H2} {
		url, _ := counted(t, func(w http.ResponseWriter, r *http.Request) {
			if c, err := r.Cookie("session"); err != nil || c.Value != "1" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		_, all := run(t.Context(), t, Spec{URL: url, Protocol: p, Connections: 2, Requests: 4, Headers: []Header{{"Cookie", "a=b; session=1"}}})
		for _, q := range all {
			if q.Code != 200 {
				t.Errorf("%s: %+v", p, q)
			}
		}
	}
}
