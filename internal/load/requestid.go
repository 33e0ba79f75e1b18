package load

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
)

const requestIDHeader = "X-Request-Id"

// idLength is the length of a UUID in text, idCount that of its counted end.
const (
	idLength = 36
	idCount  = 12
)

// requestIDs makes UUIDs that are unique to a run and counted within it. It is safe for concurrent use.
type requestIDs struct {
	first string // all but the count, random
	n     atomic.Uint64
}

func newRequestIDs() *requestIDs {
	var r [10]byte
	_, _ = rand.Read(r[:]) // never fails
	h := []byte(hex.EncodeToString(r[:]))
	h[12], h[16] = '4', 'a'
	return &requestIDs{first: string(h[:8]) + "-" + string(h[8:12]) + "-" + string(h[12:16]) + "-" + string(h[16:20]) + "-"}
}

// next writes the next id into dst, which has idLength bytes.
func (r *requestIDs) next(dst []byte) {
	copy(dst, r.first)
	n := r.n.Add(1)
	var b [idCount / 2]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	hex.Encode(dst[idLength-idCount:idLength], b[:])
}

func (r *requestIDs) text() string {
	var b [idLength]byte
	r.next(b[:])
	return string(b[:])
}
