package load

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// found makes one call to a server that answers with body, and gives what was found.
func found(t *testing.T, p Protocol, finds []Find, answer http.HandlerFunc) string {
	t.Helper()
	url, _ := counted(t, answer)
	_, all := run(t.Context(), t, Spec{URL: url, Protocol: p, Connections: 1, Requests: 1, Find: finds})
	if all[0].Error != "" {
		t.Fatalf("%s: %+v", p, all[0])
	}
	return all[0].Found
}

func TestFind(t *testing.T) {
	finds := []Find{{Name: "star", Regex: `text-(red|black)-\d+`}, {Name: "sorry", Text: "Sorry, (none)."}}
	for _, c := range []struct{ name, body, want string }{
		{"some", `<i class="text-red-500"><i class="text-black-400"> text-blue-1`, "sorry=0 star=2"},
		{"a text is no pattern", "Sorry, (none). Sorry, xnonex.", "sorry=1 star=0"},
		{"nothing", "", "sorry=0 star=0"},
		{"over buffers", strings.Repeat(" ", 40_000) + "text-red-1" + strings.Repeat("x", 70_000) + "Sorry, (none).", "sorry=1 star=1"},
		{"just so big", "text-red-1" + strings.Repeat("x", maxFindBody-10), "sorry=0 star=1"},
		{"too big", "text-red-1" + strings.Repeat("x", maxFindBody-9), "?"},
	} {
		for _, p := range []Protocol{HTTP1, H2} {
			for _, sized := range []bool{true, false} {
				got := found(t, p, finds, func(w http.ResponseWriter, _ *http.Request) {
					if sized {
						w.Header().Set("Content-Length", strconv.Itoa(len(c.body)))
					}
					for rest := []byte(c.body); len(rest) > 0; { // in pieces, so that a text may be cut
						n := min(len(rest), 12_345)
						_, _ = w.Write(rest[:n])
						rest = rest[n:]
					}
				})
				if got != c.want {
					t.Errorf("%s, %s, sized %v: got %q, want %q", c.name, p, sized, got, c.want)
				}
			}
		}
	}
}

// An answer leaves nothing behind for the next one of its connection, and answers without a whole body say nothing.
func TestFindIsOfOneAnswer(t *testing.T) {
	for _, p := range []Protocol{HTTP1, H2} {
		n := 0
		url, _ := counted(t, func(w http.ResponseWriter, _ *http.Request) {
			n++
			switch n {
			case 1:
				_, _ = w.Write([]byte("here here"))
			case 2:
				w.WriteHeader(http.StatusNoContent)
			case 3:
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write([]byte("here"))
			default:
				_, _ = w.Write([]byte("her"))
				panic(http.ErrAbortHandler)
			}
		})
		_, all := run(t.Context(), t, Spec{URL: url, Protocol: p, Connections: 1, Requests: 4, Find: []Find{{Name: "x", Text: "here"}}})
		for i, want := range []string{"x=2", "x=0", "x=1", ""} {
			if all[i].Found != want || (all[i].Error != "") != (want == "") {
				t.Errorf("%s: answer %d: %+v, want %q", p, i+1, all[i], want)
			}
		}
	}
}

func TestFindThatIsRefused(t *testing.T) {
	good := Spec{URL: "http://a", Connections: 1, Requests: 1, Find: []Find{{Name: "a", Text: "x"}}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(*Spec){
		`"a b" is no name`:                  func(s *Spec) { s.Find = []Find{{Name: "a b", Text: "x"}} },
		"a needs a text or a regular":       func(s *Spec) { s.Find = []Find{{Name: "a"}} },
		"a needs a text or":                 func(s *Spec) { s.Find = []Find{{Name: "a", Text: "x", Regex: "x"}} },
		"find: a: error parsing regexp":     func(s *Spec) { s.Find = []Find{{Name: "a", Regex: "("}} },
		"find: a gRPC ping":                 func(s *Spec) { s.Protocol = GRPC },
		"find: the answer to a HEAD":        func(s *Spec) { s.Method = "HEAD" },
		"leave the header Accept-Encoding ": func(s *Spec) { s.Headers = []Header{{"accept-encoding", "gzip"}} },
	} {
		s := good
		edit(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want …%s…", err, want)
		}
	}
}
