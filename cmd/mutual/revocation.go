package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/revoke"
)

// What is fetched of revocations: verify does it when it is asked, and gateways with
// PEM files by the side, while they run.

var revocationNames = []string{"off", "soft", "hard"}

// revocationMode is what a value of --revocation means; fetch is false for "off".
func revocationMode(name string) (mode pki.RevocationMode, fetch bool, err error) {
	switch name {
	case "off":
		return pki.RevocationGiven, false, nil
	case "soft":
		return pki.RevocationSoft, true, nil
	case "hard":
		return pki.RevocationHard, true, nil
	}
	return 0, false, usage("--revocation is %q; it can be off, soft or hard", name)
}

// newsFolder is where fetched news lie in the folder of data, which is made unless it
// is only asked.
func (a *app) newsFolder(only bool) (string, error) {
	data, err := a.dataFolder()
	if err == nil {
		err = ownFolder(data)
	}
	if err == nil && !only {
		if err = folder.Make(data); err != nil {
			err = fail(exitFailed, fmt.Errorf("fetched news of revocations are kept in the folder of data: %w", err))
		}
	}
	return filepath.Join(data, "revocations"), err
}

// news is what a gateway fetches of revocations.
type news struct {
	mode    string
	folder  string
	checker *revoke.Checker
	judge   mtls.Revocation
	stirred chan struct{} // there are some
}

// newsOf is what the flags ask for; nil for nothing. It is to be closed.
func (a *app) newsOf(g *gatewayFlags, log *slog.Logger) (*news, error) {
	mode, fetch, err := revocationMode(g.revocation)
	if err != nil || !fetch {
		return nil, err
	}
	n := &news{mode: g.revocation, stirred: make(chan struct{}, 1)}
	if n.folder, err = a.newsFolder(g.dryRun); err != nil {
		return nil, err
	}
	// Places inside are those of authorities that somebody here has chosen. Those that
	// the system trusts have theirs on the Internet.
	cfg := revoke.Config{Fetch: true, Private: g.ca != "", Cache: n.folder, Recall: true, Log: log, Clock: now}
	if g.dryRun {
		if _, err := os.Lstat(n.folder); errors.Is(err, fs.ErrNotExist) {
			cfg.Cache = ""
		}
	}
	if n.checker, err = revoke.New(cfg); err != nil {
		return nil, fail(exitFailed, err)
	}
	n.judge = mtls.Revocation{Source: n.checker, Mode: mode}
	n.checker.OnChange(func() {
		select {
		case n.stirred <- struct{}{}:
		default:
		}
	})
	return n, nil
}

func (n *news) close() {
	if n != nil {
		n.checker.Close()
	}
}

// revocation is how certificates are asked about; nil for not at all.
func (n *news) revocation() *mtls.Revocation {
	if n == nil {
		return nil
	}
	return &n.judge
}

// settle is how long news are let gather before what stands is judged again once more:
// there may be one answer for each of thousands of callers.
const settle = time.Second

// follow has what stands judged again where there are news, until ctx ends.
func (n *news) follow(ctx context.Context, recheck func(context.Context)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.stirred:
		}
		recheck(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
	}
}

// maxToldNews is how many are told one by one in a log at the start.
const maxToldNews = 8

// tell logs what lay on disk.
func (n *news) tell(log *slog.Logger) {
	if n == nil {
		return
	}
	held := n.checker.Held()
	for i, h := range held {
		if i == maxToldNews {
			log.Info(fmt.Sprintf("and %d more on disk", len(held)-i), "folder", n.folder)
			break
		}
		log.Info("on disk: "+h.Words(now()), "from", h.From)
	}
}

// line says it to people.
func (n *news) line() [2]string {
	if n == nil {
		return [2]string{}
	}
	words := n.mode + " fail, by what is fetched from where certificates say and kept in " + n.folder
	held := n.checker.Held()
	if len(held) == 0 {
		return [2]string{"revocation", words + "; nothing yet"}
	}
	first := held[0]
	for _, h := range held {
		if h.NextUpdate.Before(first.NextUpdate) {
			first = h
		}
	}
	return [2]string{"revocation", fmt.Sprintf("%s; %d there, first to end: %s", words, len(held), first.Words(now()))}
}

// newsState is what --json tells of it.
type newsState struct {
	Mode   string     `json:"mode"`
	Folder string     `json:"folder"`
	News   []newsItem `json:"news"`
}

type newsItem struct {
	Kind       string `json:"kind"` // list, response
	From       string `json:"from"`
	Issuer     string `json:"issuer"`
	Serial     string `json:"serial,omitempty"` // whom a response is about
	Status     string `json:"status,omitempty"` // of it
	Number     string `json:"number,omitempty"` // of a list
	Revoked    *int   `json:"revoked,omitempty"`
	ThisUpdate string `json:"this_update"`
	NextUpdate string `json:"next_update"`
	Age        int64  `json:"age"` // in seconds
	Current    bool   `json:"current"`
}

func (n *news) state() *newsState {
	if n == nil {
		return nil
	}
	at := now()
	s := &newsState{Mode: n.mode, Folder: n.folder, News: []newsItem{}}
	for _, h := range n.checker.Held() {
		one := newsItem{Kind: "list", From: h.From, Issuer: h.Issuer, Number: h.Number, ThisUpdate: h.ThisUpdate.UTC().Format(time.RFC3339),
			NextUpdate: h.NextUpdate.UTC().Format(time.RFC3339), Age: int64(max(at.Sub(h.ThisUpdate), 0).Seconds()), Current: !at.After(h.NextUpdate)}
		if h.About != "" {
			one.Kind, one.Serial, one.Status = "response", h.About, h.Status.String()
		} else {
			revoked := h.Revoked
			one.Revoked = &revoked
		}
		s.News = append(s.News, one)
	}
	return s
}
