package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// settings are those of one connection.
type settings struct {
	port        int
	ipv6        bool
	shimID      int
	server      bool
	resumeCount int
	supported   bool // the runner asks whether it can split handshakes

	async bool
	quic  stack

	own          []*credential
	verifyPeer   bool
	requirePeer  bool
	verifyFail   bool
	reverify     bool
	verifyCustom bool
	failCert     bool
	failEarly    bool
	hostName     string
	hint         []mtls.Group // what the server is said to have
	noTicket     bool

	kinds   kinds
	after   after
	expect  expect
	early   early
	beside  beside
	ech     concealment
	anchors anchors

	// configure changes what an ordinary server or client is made of; checks
	// look at a connection whose handshake is over.
	configure []func(*config)
	checks    []func(*connection) error
	// shape is what configure was made of: settings of one shape share a client.
	shape string
}

// config is what a server or a client is made of: the one that is not nil.
type config struct {
	*mtls.Common
	server *mtls.ServerConfig
	client *mtls.ClientConfig
}

// after is what to do when the handshake is over.
type after struct {
	exportLength                     int
	exportLabel, exportContext       string
	exportWithContext, exportSecrets bool
	recordSizes                      bool
	writesFirst, unfinishedWrite     bool
	initialWrite                     string
	initialWrites                    int
	shutsDown, checkCloseNotify      bool
	readSize                         int
	keyUpdate, keyUpdateFirst        bool
	exportBetween, neverDone         bool
	peek, again, refuses             bool
	resumptionDelay                  int
}

func newSettings() *settings {
	return &settings{
		own:    []*credential{{}},
		after:  after{initialWrite: "hello", initialWrites: 1},
		expect: expect{selected: -2},
	}
}

func (s *settings) change(f func(*config)) { s.configure = append(s.configure, f) }

func (s *settings) check(f func(*connection) error) { s.checks = append(s.checks, f) }

// The versions of TLS, as flags name them.
const tls13 = 0x0304

func init() {
	register(
		number("port", func(s *settings) *int { return &s.port }),
		toggle("ipv6", func(s *settings) *bool { return &s.ipv6 }),
		number("shim-id", func(s *settings) *int { return &s.shimID }),
		toggle("is-handshaker-supported", func(s *settings) *bool { return &s.supported }),
		toggle("server", func(s *settings) *bool { return &s.server }),
		number("resume-count", func(s *settings) *int { return &s.resumeCount }),
		toggle("async", func(s *settings) *bool { return &s.async }),

		// There is one version.
		version("max-version", func(v uint64) bool { return v >= tls13 }),
		version("min-version", func(v uint64) bool { return v <= tls13 }),
		ignored("no-tls1"), ignored("no-tls11"), ignored("no-tls12"),

		// Who we are, and whom we let in.
		toggle("verify-peer", func(s *settings) *bool { return &s.verifyPeer }),
		toggle("require-any-client-certificate", func(s *settings) *bool { return &s.requirePeer }),
		toggle("verify-fail", func(s *settings) *bool { return &s.verifyFail }),
		toggle("fail-cert-callback", func(s *settings) *bool { return &s.failCert }),
		toggle("fail-early-callback", func(s *settings) *bool { return &s.failEarly }),
		toggle("use-custom-verify-callback", func(s *settings) *bool { return &s.verifyCustom }),
		toggle("reverify-on-resume", func(s *settings) *bool { return &s.reverify }),
		ignored("install-ddos-callback"), // an Identity again
		toggle("fail-ddos-callback", func(s *settings) *bool { return &s.failCert }),
		doesWith("srtp-profiles", func(*settings, string) error { return nil }),     // of DTLS alone
		ignored("use-early-callback"),                                               // an Identity is asked, and there is no other way
		ignored("use-old-client-cert-callback"),                                     // the same
		doesWith("trust-cert", func(*settings, string) error { return nil }),        // the runner's flags alone say whom to admit
		doesWith("select-next-proto", func(*settings, string) error { return nil }), // NPN, which ended with TLS 1.2, is never offered
		ignored("implicit-handshake"),                                               // a Conn is given when the handshake is over, before the first Read
		ignored("partial-write"),                                                    // a Write is whole or fails
		ignored("server-preference"),                                                // always so

		// What is offered and chosen.
		text("host-name", func(s *settings) *string { return &s.hostName }),
		numberChange("curves", func(c *config, g mtls.Group) { c.Groups = append(c.Groups, g) }),
		numberChange("key-shares", func(c *config, g mtls.Group) {
			if c.client != nil {
				c.client.Shares = append(c.client.Shares, g)
			}
		}),
		does("no-key-shares", func(s *settings) {
			s.change(func(c *config) {
				if c.client != nil {
					c.client.Shares = []mtls.Group{}
				}
			})
		}),
		numberChange("verify-prefs", func(c *config, v mtls.Scheme) {
			switch {
			case v.IsLegacy() && c.server != nil:
				c.server.LegacyPKCS1 = true
			case slices.Contains(suite.Schemes(), v):
				c.Schemes = append(c.Schemes, v)
			}
			// Others can't be chosen. Whoever is told of nothing else has the usual ones.
		}),
		doesWith("advertise-alpn", func(s *settings, v string) error {
			s.change(func(c *config) {
				if c.client != nil {
					c.client.ALPN = protocols(v)
				}
			})
			return nil
		}),
		doesWith("select-alpn", func(s *settings, v string) error {
			s.expect.selectedALPN = v
			s.change(func(c *config) {
				if c.server != nil && v != "" {
					c.server.ALPN = []string{v}
				}
			})
			return nil
		}),
		ignored("decline-alpn"), // a server without protocols declines
		does("reject-alpn", func(s *settings) {
			s.change(func(c *config) {
				if c.server != nil {
					c.server.ALPN = []string{"what nobody speaks"}
				}
			})
		}),
		toggle("no-ticket", func(s *settings) *bool { return &s.noTicket }),
		ignored("use-ticket-callback"), // keys are always ours to give
		ignored("renew-ticket"),        // each ticket is a new one
		does("use-ticket-aead-callback", func(s *settings) { s.change(stored(memory)) }),
		does("skip-ticket", func(s *settings) { s.change(stored(noStore{})) }),
		ignored("no-legacy-server-connect"), // no server is spoken to that would need it

		// What to do afterwards.
		number("export-keying-material", func(s *settings) *int { return &s.after.exportLength }),
		text("export-label", func(s *settings) *string { return &s.after.exportLabel }),
		text("export-context", func(s *settings) *string { return &s.after.exportContext }),
		toggle("use-export-context", func(s *settings) *bool { return &s.after.exportWithContext }),
		toggle("export-traffic-secrets", func(s *settings) *bool { return &s.after.exportSecrets }),
		toggle("use-exporter-between-reads", func(s *settings) *bool { return &s.after.exportBetween }),
		toggle("write-different-record-sizes", func(s *settings) *bool { return &s.after.recordSizes }),
		toggle("shim-writes-first", func(s *settings) *bool { return &s.after.writesFirst }),
		text("shim-initial-write", func(s *settings) *string { return &s.after.initialWrite }),
		number("repeat-shim-initial-write", func(s *settings) *int { return &s.after.initialWrites }),
		toggle("read-with-unfinished-write", func(s *settings) *bool { return &s.after.unfinishedWrite }),
		toggle("shim-shuts-down", func(s *settings) *bool { return &s.after.shutsDown }),
		toggle("check-close-notify", func(s *settings) *bool { return &s.after.checkCloseNotify }),
		doesWith("max-send-fragment", func(s *settings, v string) error {
			n, err := strconv.Atoi(v)
			s.change(func(c *config) { c.MaxRecord = n })
			return err
		}),
		number("read-size", func(s *settings) *int { return &s.after.readSize }),
		toggle("key-update", func(s *settings) *bool { return &s.after.keyUpdate }),
		toggle("key-update-before-read", func(s *settings) *bool { return &s.after.keyUpdateFirst }),
		toggle("send-alert", func(s *settings) *bool { return &s.after.refuses }),
		toggle("no-op-extra-handshake", func(s *settings) *bool { return &s.after.again }),
		toggle("handshake-never-done", func(s *settings) *bool { return &s.after.neverDone }),
		number("resumption-delay", func(s *settings) *int { return &s.after.resumptionDelay }),

		// There is no renegotiation, so none can be allowed.
		ignored("renegotiate-once"), ignored("renegotiate-freely"), ignored("renegotiate-ignore"),
		ignored("renegotiate-explicit"), ignored("forbid-renegotiation-after-handshake"),
	)
}

// version is a flag that bounds the versions.
func version(name string, has func(uint64) bool) flag {
	return doesWith(name, func(_ *settings, v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		if err == nil && !has(n) {
			err = unimplemented("only TLS 1.3 is spoken")
		}
		return err
	})
}

// numberChange is a flag that is given once for each element of a list in the
// configuration.
func numberChange[T ~uint16](name string, f func(c *config, v T)) flag {
	return doesWith(name, func(s *settings, v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		s.change(func(c *config) { f(c, T(n)) })
		return err
	})
}

// stored has a server keep its sessions in a store.
func stored(store mtls.SessionStore) func(*config) {
	return func(c *config) {
		if c.server != nil {
			c.server.Resumption = &mtls.ServerResumption{Store: store}
		}
	}
}

// memory is the store of all connections of this process.
var memory = mtls.NewSessionMemory(4)

// noStore keeps nothing.
type noStore struct{}

func (noStore) Put(context.Context, [32]byte, []byte, time.Time) error {
	return errors.New("the runner wants no tickets")
}

func (noStore) Take(context.Context, [32]byte) ([]byte, error) { return nil, nil }

// protocols takes apart what would stand in the extension: each with its length
// before it.
func protocols(v string) []string {
	var list []string
	for len(v) > 0 && 1+int(v[0]) <= len(v) {
		list = append(list, v[1:1+int(v[0])])
		v = v[1+int(v[0]):]
	}
	return list
}
