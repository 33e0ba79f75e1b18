package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"squall/internal/load"
)

// Server drives loads, one at a time, for whoever can reach it: it belongs on loopback or behind a port-forward. It is an
// http.Handler; a load ends when the context of its request does, so that the contexts of the http.Server that it is given to
// should end with the process.
type Server struct {
	mux     http.ServeMux
	started time.Time
	process string
	buffer  int
	busy    sync.Mutex // held while a load runs
}

// NewServer makes a server that keeps up to buffer bytes of calls for a client that takes them too slowly; 0 is DefaultBuffer.
func NewServer(buffer int) *Server {
	if buffer == 0 {
		buffer = DefaultBuffer
	}
	s := &Server{started: time.Now(), process: rand.Text(), buffer: buffer}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n") // a prober that is gone has no use for it
	})
	s.mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, clockAnswer{Process: s.process, Now: s.now()})
	})
	s.mux.HandleFunc("POST /signin", s.signIn)
	s.mux.HandleFunc("POST /load", s.load)
	return s
}

// ServeHTTP answers a client.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) now() time.Duration { return time.Since(s.started) }

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone has no use for it
}

func refuse(w http.ResponseWriter, code int, err error) { answer(w, code, failure{err.Error()}) }

// decode reads one JSON value strictly.
func decode(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("the request cannot be read (is the worker of the same version as Squall?): %w", err)
	}
	return nil
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	var req signInRequest
	if err := decode(http.MaxBytesReader(w, r.Body, maxRequest), &req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	req.SignIn.TLS = req.Trust
	if err := req.SignIn.Validate(); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("sign in: %w", err))
		return
	}
	headers, err := req.SignIn.Do(r.Context(), req.Of.load())
	if err != nil {
		refuse(w, http.StatusBadGateway, err)
		return
	}
	answer(w, http.StatusOK, signInAnswer{headers})
}

// readLoad reads the order of a load and checks all that can be checked before it starts.
func (s *Server) readLoad(body io.Reader) (loadRequest, int, error) {
	var req loadRequest
	if err := decode(body, &req); err != nil {
		return req, http.StatusBadRequest, err
	}
	if err := req.Spec.load().Validate(); err != nil {
		return req, http.StatusBadRequest, fmt.Errorf("load: %w", err)
	}
	if req.Process != s.process {
		return req, http.StatusConflict, errRestarted
	}
	switch wait := req.At - s.now(); {
	case wait < 0:
		return req, http.StatusConflict, fmt.Errorf("the load was to start %s ago: the order came too late", -wait)
	case wait > maxAhead:
		return req, http.StatusBadRequest, fmt.Errorf("the load is to start in %s, and a worker waits %s at most", wait, maxAhead)
	}
	return req, 0, nil
}

func (s *Server) load(w http.ResponseWriter, r *http.Request) {
	// What is left of this request on the connection would end the load of the next one.
	w.Header().Set("Connection", "close")
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("the connection cannot be read while it is written to: %w", err))
		return
	}
	if !s.busy.TryLock() {
		refuse(w, http.StatusConflict, ErrBusy)
		return
	}
	defer s.busy.Unlock()
	body := http.MaxBytesReader(w, r.Body, maxRequest)
	req, code, err := s.readLoad(body)
	if err != nil {
		refuse(w, code, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)

	ctx, cancel := context.WithCancelCause(r.Context())
	unwanted := make(chan struct{})
	go func() {
		defer close(unwanted)
		_, err := io.Copy(io.Discard, body) // until the client ends it, or is gone
		if err == nil {
			err = errAborted
		}
		cancel(err)
	}()
	out := newStream(&flushed{w, control}, s.buffer, cancel)
	out.drive(ctx, req.Spec.load(), s.started.Add(req.At))
	cancel(nil)
	_ = control.SetReadDeadline(time.Now()) // ends the reading of the body; a connection that has none is closed anyway
	<-unwanted
}

// flushed sends what is written to it at once.
type flushed struct {
	w       io.Writer
	control *http.ResponseController
}

func (f *flushed) Write(b []byte) (int, error) {
	if err := f.control.SetWriteDeadline(time.Now().Add(silentAfter)); err != nil {
		return 0, err
	}
	n, err := f.w.Write(b)
	return n, errors.Join(err, f.control.Flush())
}

// drive waits for the start, runs the load and sends its calls and its end. It returns when all is sent or cannot be.
func (s *stream) drive(ctx context.Context, spec load.Spec, start time.Time) {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.send()
	}()
	wait := time.NewTimer(time.Until(start))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done(): // the load begins, is interrupted, and says so
	}
	l, err := load.Run(ctx, spec, load.Output{Base: start, Sink: s})
	s.end(l, err)
	<-sent
}
