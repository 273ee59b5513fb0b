package main

import (
	"crypto"
	"slices"

	"github.com/mutual-tls/mutual/mtls"
)

// The runner's keys name nobody: these are the two ends of each.
const (
	pskClient = "spiffe://runner.test/client"
	pskServer = "spiffe://runner.test/server"
)

func init() {
	register(
		does("new-psk-credential", func(s *settings) {
			k := &mtls.PSK{Client: pskClient, Server: pskServer}
			s.own = append(s.own, &credential{psk: k})
			s.change(func(c *config) {
				if c.server != nil {
					c.server.PSKs = append(c.server.PSKs, *k)
				} else {
					c.client.PSKs = append(c.client.PSKs, *k)
				}
			})
		}),
		octets("psk-importer-key", func(s *settings) *[]byte { return &s.credential().psk.Secret }),
		octets("psk-importer-identity", func(s *settings) *[]byte { return &s.credential().psk.Identity }),
		octets("psk-importer-context", func(s *settings) *[]byte { return &s.credential().psk.Context }),
		does("psk-importer-sha256", func(s *settings) { s.credential().psk.Hash = crypto.SHA256 }),
		does("psk-importer-sha384", func(s *settings) { s.credential().psk.Hash = crypto.SHA384 }),
	)
}

// keyServer has a server with keys take them, and nothing else where it has no
// certificate.
func (c *connection) keyServer(cfg *mtls.ServerConfig) {
	switch {
	case len(cfg.PSKs) == 0:
	case !slices.ContainsFunc(c.own, func(o *credential) bool { return o.certificate != nil }):
		cfg.Identity, cfg.Clients = nil, mtls.Required(mtls.PreShared())
	default:
		cfg.Clients = mtls.Optional(mtls.AnyOf(mtls.PreShared(), c.process))
	}
}

// keyClient is the same for a client, which takes certificates where the runner
// wants them verified.
func (c *connection) keyClient(cfg *mtls.ClientConfig) {
	switch {
	case len(cfg.PSKs) == 0:
	case c.verifyPeer:
		cfg.Servers = mtls.AnyOf(mtls.PreShared(), c.process)
	default:
		cfg.Servers = nil
	}
}

// meant is the server that a client means.
func (c *connection) meant() string {
	if c.hostName == "" && slices.ContainsFunc(c.own, func(o *credential) bool { return o.psk != nil }) {
		return pskServer
	}
	return c.hostName
}
