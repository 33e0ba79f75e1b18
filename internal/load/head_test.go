package load

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func TestQuickHead(t *testing.T) {
	const ordinary = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-request-ID:  abc \r\nX-Version: v1\r\nx-version: v2\r\n\r\nhello"
	h, ok := quickHead([]byte(ordinary), []byte("X-Version"))
	if !ok || h.code != 200 || h.length != 5 || string(h.id) != "abc" || string(h.version) != "v1" || h.size != len(ordinary)-5 {
		t.Errorf("got %+v, %v", h, ok)
	}
	for _, edit := range [][2]string{
		{"HTTP/1.1", "HTTP/1.0"}, {"200", "204"}, {"200", "304"}, {"200", "100"}, {"200", "2x0"}, {" OK", "OK"},
		{"Content-Length: 5", "A: b"}, {"X-Version", "Content-Length"}, {": 5", ": -5"}, {": 5", ": 5, 5"}, {": 5", ": 12345678901"},
		{"X-Version: v1", "Connection: close"}, {"X-Version: v1", "TRANSFER-ENCODING: chunked"}, {"X-Version: v1", "Trailer: x"},
		{"X-Version:", "X-Version :"}, {"X-Version:", " X-Version:"}, {"X-Version: v1", "X-Version"}, {"X-Version", ""},
		{"v1\r", "v1"}, {"v1", "v\x001"}, {"\r\n\r\nhello", "\r\n"}, {"\r\n\r\nhello", ""},
	} {
		text := strings.Replace(ordinary, edit[0], edit[1], 1)
		if h, ok := quickHead([]byte(text), []byte("X-Version")); ok {
			t.Errorf("%q is ordinary: %+v", text, h)
		}
	}
}

// Whatever quickHead takes, net/http takes, and both read the same.
func FuzzQuickHead(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-Id: abc\r\nX-Version: v1\r\n\r\nhello",
		"HTTP/1.1 503 \r\ncontent-length: 0\r\nServer: envoy\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 05\r\nPragma: no-cache\r\nX-Version:\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nUpgrade: x\r\nKeep-Alive: 3\r\nProxy-Connection: close\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := quickHead(b, []byte("X-Version"))
		if !ok {
			return
		}
		r := bytes.NewReader(b)
		br := bufio.NewReaderSize(r, len(b)+16)
		resp, err := http.ReadResponse(br, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b, err)
		}
		size := len(b) - r.Len() - br.Buffered()
		if resp.StatusCode != h.code || resp.ContentLength != int64(h.length) || resp.Close || size != h.size ||
			resp.Header.Get("X-Request-Id") != string(h.id) || resp.Header.Get("X-Version") != string(h.version) || resp.Uncompressed {
			t.Errorf("%q: got %+v, net/http %+v, %d bytes", b, h, resp, size)
		}
	})
}
