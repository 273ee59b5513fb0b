package gateway

import (
	"encoding/json"
	"fmt"

	"github.com/mutual-tls/mutual/internal/folder"
)

// Announcement is what a program tells others of itself when it is ready, as far
// as it applies. Join holds secrets.
type Announcement struct {
	Listen    []string          `json:"listen,omitempty"`
	Health    []string          `json:"health,omitempty"`
	Authority []string          `json:"authority,omitempty"`
	Join      map[string]string `json:"join,omitempty"` // name → join line
}

// Write writes the announcement to a file that is there whole or not at all, and
// is its owner's alone.
func (a *Announcement) Write(file string) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if err := folder.Write(file, append(b, '\n')); err != nil {
		return fmt.Errorf("--announce: %w", err)
	}
	return nil
}

func (g *Gateway) announce() error {
	what := Announcement{Listen: []string{g.Addr().String()}, Authority: g.cfg.Authority, Join: g.cfg.Join}
	if a, ok := g.HealthAddr(); ok {
		what.Health = []string{a.String()}
	}
	return what.Write(g.cfg.Announce)
}

// Tell adds to what the announcement says, before Run.
func (g *Gateway) Tell(authority []string, join map[string]string) {
	g.cfg.Authority, g.cfg.Join = authority, join
}
