package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// handler answers a request with a value for JSON, nil for nothing to say, or an
// error: an *api.Problem is for who asks, anything else is ours.
type handler func(r *http.Request) (any, error)

// working bounds how many requests work at once.
func (s *Server) working(h handler) http.Handler {
	return s.answering(func(r *http.Request) (any, error) {
		select {
		case s.busy <- struct{}{}:
			defer func() { <-s.busy }()
		default:
			return nil, busy()
		}
		return h(r)
	})
}

func busy() *api.Problem {
	return api.NewProblem(http.StatusServiceUnavailable, code.AuthorityBusy, "the authority has too much to do at this moment")
}

func (s *Server) answering(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, api.MaxBody)
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
	} else {
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
	err := d.Decode(in)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, api.NewProblem(http.StatusRequestEntityTooLarge, code.RequestTooLarge, fmt.Sprintf("the request has more than %d bytes", api.MaxBody))
	case err != nil:
		return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "the request's body is not the JSON that was expected")
	case d.More():
		return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "the request's body has something behind its JSON")
	}
	return in, nil
}
