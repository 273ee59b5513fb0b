package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"runtime/debug"
	"strings"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// handler answers a request with a value for JSON, nil for nothing to say, or an
// error: an *api.Problem is for who asks, anything else is ours.
type handler func(r *http.Request) (any, error)

// working bounds how many requests work at once. Their bodies are here before they
// take a place: who sends slowly keeps nobody out. The admin socket has places of
// its own, so that a port that is flooded can still be administered.
func (s *Server) working(places chan struct{}, h handler) http.Handler {
	return s.answering(func(r *http.Request) (any, error) {
		if err := hold(r); err != nil {
			return nil, err
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			return nil, busy()
		}
		return h(r)
	})
}

// hold reads a request's body.
func hold(r *http.Request) error {
	b, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return api.NewProblem(http.StatusRequestEntityTooLarge, code.RequestTooLarge, fmt.Sprintf("the request has more than %d bytes", tooLarge.Limit))
	case err != nil:
		return api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "the request's body did not come whole, or not in time")
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

// straight is one door: it takes bodies up to a limit, and adds an answer for
// whatever mux does not know, ways round a path included: mux alone would answer
// those with redirects, which nobody here follows.
func (s *Server) straight(mux *http.ServeMux, limit int64) http.Handler {
	other := s.answering(unknown)
	mux.Handle("/", other)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		clean := path.Clean(r.URL.Path)
		if clean != "/" && strings.HasSuffix(r.URL.Path, "/") {
			clean += "/"
		}
		if clean != r.URL.Path || clean[0] != '/' || r.Method == http.MethodConnect {
			other.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func busy() *api.Problem {
	return api.NewProblem(http.StatusServiceUnavailable, code.AuthorityBusy, "the authority has too much to do at this moment")
}

func (s *Server) answering(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.guarded(h, r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		if out == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		b, err := json.Marshal(out)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(b, '\n'))
	})
}

// guarded keeps a panic to the request that caused it.
func (s *Server) guarded(h handler, r *http.Request) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a request broke; please report this", "code", string(code.Internal), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("a request broke")
		}
	}()
	return h(r)
}

// refuse answers with a problem and logs it under the id that the answer has.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // who asked has gone
	}
	var id [6]byte
	_, _ = rand.Read(id[:])
	var known *api.Problem
	p := api.Problem{}
	if errors.As(err, &known) {
		p = *known
	} else {
		p = *api.NewProblem(http.StatusInternalServerError, code.StoreFailed, "the authority could not do this for a reason of its own; its log has more")
	}
	if p.Status == 0 {
		p.Status = http.StatusBadRequest
	}
	p.ID = hex.EncodeToString(id[:])
	attrs := []any{"code", p.Code, "id", p.ID, "path", identity.Printable(r.URL.Path), "remote", r.RemoteAddr, "mend", p.Mend}
	if peer, ok := nethttp.Peer(r); ok {
		attrs = append(attrs, "peer", identity.Printable(peer.Name()), "serial", peer.Serial)
	}
	if known == nil {
		s.log.Error("a request failed: "+err.Error(), attrs...)
	} else if s.refusals.Admit(r.RemoteAddr) { // a flood of them is a count
		s.log.Warn("refused: "+p.Detail, attrs...)
	}
	b, err := json.Marshal(&p)
	if err != nil {
		b = []byte("{}")
	}
	w.Header().Set("Content-Type", api.ProblemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n'))
}

// body reads a request's JSON. What it says is not repeated in the problem: it may
// hold a token.
func body[T any](r *http.Request) (*T, error) {
	in := new(T)
	d := json.NewDecoder(r.Body)
	if err := d.Decode(in); err != nil {
		return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "the request's body is not the JSON that was expected")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "the request's body has something behind its JSON")
	}
	return in, nil
}
