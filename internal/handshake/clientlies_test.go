package handshake

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// honestClient plays a client that does nothing wrong, with one step replaced.
// Which steps there are is what the server asks for.
func (a *actor) honestClient(shows bool, replace string, step func()) {
	key := leaf("p256")
	for _, s := range []struct {
		name string
		do   func()
	}{
		{"ClientHello", func() { a.clientHello(nil) }},
		{"Certificate", func() { a.certificate(key, nil) }},
		{"CertificateVerify", func() { a.verify(key, nil) }},
		{"Finished", func() { a.finished(nil) }},
	} {
		if a.peer.err != nil {
			return
		}
		if s.name == "Certificate" || s.name == "Finished" {
			a.flight()
		}
		if s.name == replace {
			step()
		} else if shows || !strings.HasPrefix(s.name, "Certificate") {
			s.do()
		}
	}
}

func TestTheActorIsTakenForAClient(t *testing.T) {
	for _, shows := range []bool{false, true} {
		s := usual()
		if shows {
			s = mutual()
		}
		a := newClientActor(t, s)
		a.honestClient(shows, "", nil)
		if a.peer.err != nil || !a.peer.done {
			t.Fatalf("shows a certificate: %v; done: %v, %v", shows, a.peer.done, a.peer.err)
		}
	}
}

// retrying makes the server answer the first hello with a HelloRetryRequest, and
// the second one is edited.
func retrying(edit func(*actor, *message.ClientHello)) func(*actor) {
	return func(a *actor) {
		a.clientHello(nil)
		if a.peer.err != nil || !a.reply.IsRetry() {
			a.t.Fatalf("no HelloRetryRequest came: %v", a.peer.err)
		}
		a.offer(a.reply.RetryGroup)
		a.clientHello(func(m *message.ClientHello) { edit(a, m) })
	}
}

func toRetry(s *setting) {
	s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	s.client.ALPN, s.server.ALPN = []string{"h2"}, []string{"h2"}
}

func mutually(s *setting) { s.server.ClientAuth = RequireClientCertificate }

func optionally(s *setting) { s.server.ClientAuth = RequestClientCertificate }

func clientLies() []lie {
	const (
		illegal    = alert.IllegalParameter
		unexpected = alert.UnexpectedMessage
		missing    = alert.MissingExtension
	)
	key := leaf("p256")
	say := func(edit func(*message.ClientHello)) func(*actor) {
		return func(a *actor) { a.clientHello(edit) }
	}
	older := func(version uint16, offered ...uint16) func(*actor) {
		return say(func(m *message.ClientHello) { m.LegacyVersion, m.Versions = version, offered })
	}
	changed := func(edit func(*message.ClientHello)) func(*actor) {
		return retrying(func(_ *actor, m *message.ClientHello) { edit(m) })
	}
	psk := &message.PreSharedKeys{Identities: []message.PSKIdentity{{Identity: []byte{1}}}, Binders: [][]byte{make([]byte, 32)}}
	const more = "in more than what was asked"
	return []lie{
		// Versions.
		{name: "TLS 1.2", at: "ClientHello", do: older(0x0303), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "the client speaks TLS 1.2 at most"},
		{name: "TLS 1.1", at: "ClientHello", do: older(0x0302), alert: alert.ProtocolVersion, says: "TLS 1.1 at most"},
		{name: "SSL 3", at: "ClientHello", do: older(0x0300), alert: alert.ProtocolVersion, says: "SSL 3.0 at most"},
		{name: "TLS 1.3 in the wrong field", at: "ClientHello", do: older(0x0304), alert: alert.ProtocolVersion, says: "TLS 1.2 at most"},
		{name: "1.2 and older in supported_versions", at: "ClientHello", do: older(0x0303, 0x0302, 0x0a0a, 0x0303), alert: alert.ProtocolVersion, says: "TLS 1.2 at most"},
		{name: "a version to come", at: "ClientHello", do: older(0x0303, 0x0305), alert: alert.ProtocolVersion, says: "unknown version"},
		{name: "TLS 1.3 with the legacy_version of SSL 3", at: "ClientHello", do: older(0x0300, 0x0304), alert: alert.ProtocolVersion, says: "older than TLS"},
		{name: "TLS 1.3 with the legacy_version of SSL 2", at: "ClientHello", do: older(0x0002, 0x0304), alert: alert.ProtocolVersion, says: "older than TLS"},
		{name: "TLS 1.3 with compression", at: "ClientHello", do: say(func(m *message.ClientHello) { m.Compression = []byte{1, 0} }), alert: illegal, says: "compression"},
		{name: "TLS 1.3 with two null compressions", at: "ClientHello", do: say(func(m *message.ClientHello) { m.Compression = []byte{0, 0} }), alert: illegal, says: "compression"},
		// Nothing in common.
		{name: "no suite in common", at: "ClientHello", do: say(func(m *message.ClientHello) { m.CipherSuites = []suite.ID{0x1304, 0x0a0a} }), alert: alert.HandshakeFailure, code: code.NoCommonSuite},
		{name: "no group in common", at: "ClientHello", do: say(func(m *message.ClientHello) {
			m.Groups, m.KeyShares = []suite.GroupID{0x0a0a, suite.P521}, []message.KeyShare{{Group: 0x0a0a, Data: []byte{0}}}
		}), alert: alert.HandshakeFailure, code: code.NoCommonGroup},
		{name: "no protocol in common", set: func(s *setting) { s.server.ALPN = []string{"h2"} }, at: "ClientHello", do: say(func(m *message.ClientHello) {
			m.ALPN = []string{"http/1.1", "\x1b[31m"}
		}), alert: alert.NoApplicationProtocol, code: code.NoCommonALPN, says: `"\x1b[31m"`},
		// What must not be missing.
		{name: "no signature_algorithms", at: "ClientHello", do: say(func(m *message.ClientHello) { m.Schemes = nil }), alert: missing, says: "signature_algorithms"},
		{name: "no supported_groups", at: "ClientHello", do: say(func(m *message.ClientHello) { m.Groups = nil }), alert: missing, says: "supported_groups"},
		{name: "no key_share", at: "ClientHello", do: say(func(m *message.ClientHello) { m.HasKeyShares = false }), alert: missing, says: "key_share"},
		{name: "a PSK without its modes", at: "ClientHello", do: say(func(m *message.ClientHello) { m.PSK, m.PSKModes = psk, nil }), alert: missing, says: "psk_key_exchange_modes"},
		// Key shares.
		{name: "a key share outside supported_groups", at: "ClientHello", do: say(func(m *message.ClientHello) { m.Groups = []suite.GroupID{suite.P256} }), alert: illegal, says: "not among its supported_groups"},
		{name: "key shares out of order", at: "ClientHello", do: say(func(m *message.ClientHello) {
			m.Groups = []suite.GroupID{suite.P256, suite.X25519}
			m.KeyShares = append(m.KeyShares, message.KeyShare{Group: suite.P256, Data: make([]byte, 65)})
		}), alert: illegal, says: "not in their order"},
		{name: "two key shares in one group", at: "ClientHello", do: say(func(m *message.ClientHello) { m.KeyShares = append(m.KeyShares, m.KeyShares[0]) }), alert: illegal, says: "two key shares"},
		{name: "a key share of zero", at: "ClientHello", do: say(func(m *message.ClientHello) { m.KeyShares[0].Data = make([]byte, 32) }), alert: illegal, code: code.BadKeyShare},
		{name: "a short key share", at: "ClientHello", do: say(func(m *message.ClientHello) { m.KeyShares[0].Data = m.KeyShares[0].Data[1:] }), alert: illegal, code: code.BadKeyShare},
		{name: "a point off the curve", set: func(s *setting) {
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.P256}, []suite.GroupID{suite.P256}
		}, at: "ClientHello", do: say(func(m *message.ClientHello) {
			m.KeyShares[0].Data[64] ^= 1
		}), alert: illegal, code: code.BadKeyShare},
		{name: "a point at infinity", set: func(s *setting) {
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.P256}, []suite.GroupID{suite.P256}
		}, at: "ClientHello", do: say(func(m *message.ClientHello) {
			m.KeyShares[0].Data = []byte{0}
		}), alert: illegal, code: code.BadKeyShare},
		{name: "an encapsulation key out of range", set: func(s *setting) {
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519MLKEM768}, []suite.GroupID{suite.X25519MLKEM768}
		}, at: "ClientHello", do: say(func(m *message.ClientHello) {
			copy(m.KeyShares[0].Data, []byte{0xff, 0xff, 0xff})
		}), alert: illegal, code: code.BadKeyShare},
		// The second hello.
		{name: "a second hello with the same share", set: toRetry, at: "ClientHello", do: retrying(func(a *actor, m *message.ClientHello) {
			a.offer(suite.X25519)
		}), alert: illegal, says: "exactly one key share in secp256r1"},
		{name: "a second hello without a share", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.KeyShares = nil }), alert: illegal, says: "exactly one key share"},
		{name: "a second hello without key_share", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.HasKeyShares = false }), alert: missing, says: "key_share"},
		{name: "a second hello with two shares", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) {
			m.KeyShares = append([]message.KeyShare{{Group: suite.X25519, Data: bytes.Repeat([]byte{9}, 32)}}, m.KeyShares...)
		}), alert: illegal, says: "exactly one key share"},
		{name: "a second hello with a cookie", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.Cookie = []byte{1} }), alert: alert.UnsupportedExtension, says: "cookie"},
		{name: "a second hello with early data", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) {
			m.EarlyData, m.PSK = true, psk
		}), alert: illegal, says: "early data after"},
		{name: "another random", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.Random[0] ^= 1 }), alert: illegal, says: more},
		{name: "another session identifier", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.SessionID = nil }), alert: illegal, says: more},
		{name: "other suites", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) {
			m.CipherSuites = []suite.ID{suite.ChaCha20Poly1305SHA256, suite.AES128GCMSHA256}
		}), alert: illegal, says: more},
		{name: "another legacy_version", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.LegacyVersion = 0x0301 }), alert: illegal, says: more},
		{name: "another server name", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.ServerName = "payments.example" }), alert: illegal, says: more},
		{name: "no server name any more", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.ServerName = "" }), alert: illegal, says: more},
		{name: "other versions", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.Versions = []uint16{0x0304, 0x0303} }), alert: illegal, says: more},
		{name: "other groups", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.Groups = []suite.GroupID{suite.P256} }), alert: illegal, says: more},
		{name: "other schemes", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.Schemes = []suite.Scheme{suite.ECDSAWithP256AndSHA256} }), alert: illegal, says: more},
		{name: "other certificate schemes", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.CertSchemes = []suite.Scheme{suite.Ed25519} }), alert: illegal, says: more},
		{name: "other protocols", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.ALPN = nil }), alert: illegal, says: more},
		{name: "other authorities", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.Authorities = [][]byte{{0x30, 0}} }), alert: illegal, says: more},
		{name: "TLS 1.2 after all", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.Versions = []uint16{0x0303} }), alert: alert.ProtocolVersion},
		{name: "a bad share in the group asked for", set: toRetry, at: "ClientHello", do: changed(func(m *message.ClientHello) { m.KeyShares[0].Data[9] ^= 1 }), alert: illegal, code: code.BadKeyShare},
		// Certificate.
		{name: "no certificate where one is required", set: mutually, at: "Certificate", do: func(a *actor) { a.certificate(&mint.Leaf{}, nil) }, alert: alert.CertificateRequired, code: code.CertificateRequired, says: "one is required"},
		{name: "no Certificate where one was asked for", set: mutually, at: "Certificate", do: func(a *actor) { a.finished(nil) }, alert: unexpected, says: "Certificate was expected, Finished came"},
		{name: "no Certificate where one was asked for, optionally", set: optionally, at: "Certificate", do: func(a *actor) { a.finished(nil) }, alert: unexpected, says: "Certificate was expected, Finished came"},
		{name: "CertificateVerify behind an empty certificate", set: optionally, at: "Certificate", do: func(a *actor) {
			a.certificate(&mint.Leaf{}, nil)
			a.verify(key, nil)
		}, alert: unexpected, says: "Finished was expected, CertificateVerify came"},
		{name: "a certificate without CertificateVerify", set: mutually, at: "CertificateVerify", do: func(*actor) {}, alert: unexpected, says: "CertificateVerify was expected, Finished came"},
		{name: "an optional certificate without CertificateVerify", set: optionally, at: "CertificateVerify", do: func(*actor) {}, alert: unexpected, says: "CertificateVerify was expected, Finished came"},
		{name: "an empty certificate behind another", set: optionally, at: "CertificateVerify", do: func(a *actor) { a.certificate(&mint.Leaf{}, nil) }, alert: unexpected, says: "CertificateVerify was expected"},
		{name: "a context", set: mutually, at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) { m.Context = []byte{1} })
		}, alert: illegal, says: "context"},
		{name: "an OCSP response that nobody asked for", set: mutually, at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) {
				m.Entries[0].Extensions = []message.Extension{{Type: message.ExtStatusRequest}}
			})
		}, alert: alert.UnsupportedExtension, says: "not asked for"},
		{name: "a chain of 17", set: mutually, at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) { m.Entries = slices.Repeat(m.Entries, 17) })
		}, alert: alert.DecodeError, says: "more than 16"},
		{name: "a certificate that is none", set: mutually, at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) { m.Entries[0].Data = []byte("\x1b[31mcertificate") })
		}, alert: alert.DecodeError, code: code.Malformed, says: "does not parse"},
		{name: "a key on a curve of old", set: mutually, at: "Certificate", do: func(a *actor) {
			a.certificate(key, withKeyOf("\x2a\x86\x48\xce\x3d\x03\x01\x07", "\x2a\x86\x48\xce\x3d\x03\x01\x01"))
		}, alert: alert.UnsupportedCertificate, code: code.UnsupportedKey, says: "1.2.840.10045.3.1.1 is none of P-256"},
		{name: "an Ed448 key", set: mutually, at: "Certificate", do: func(a *actor) {
			a.certificate(leaf("ed25519"), withKeyOf("\x06\x03\x2b\x65\x70", "\x06\x03\x2b\x65\x71"))
		}, alert: alert.UnsupportedCertificate, code: code.UnsupportedKey, says: "1.3.101.113 is none of ECDSA"},
		// CertificateVerify and Finished.
		{name: "a scheme that was not offered", set: func(s *setting) {
			mutually(s)
			s.server.Schemes = []suite.Scheme{suite.Ed25519, suite.ECDSAWithP384AndSHA384}
			s.serverKey = "ed25519"
		}, at: "CertificateVerify", do: func(a *actor) {
			a.verify(key, nil)
		}, alert: illegal, says: "which was not offered"},
		{name: "a scheme of PKCS #1 v1.5", set: mutually, at: "CertificateVerify", do: func(a *actor) {
			a.verify(key, func(m *message.CertificateVerify) { m.Scheme = suite.PKCS1WithSHA256 })
		}, alert: illegal, says: "which was not offered"},
		{name: "a scheme that does not fit the key", set: mutually, at: "CertificateVerify", do: func(a *actor) {
			a.verify(key, func(m *message.CertificateVerify) { m.Scheme = suite.RSAPSSWithSHA256 })
		}, alert: illegal, says: "does not fit the key"},
		{name: "another key's signature", set: mutually, at: "CertificateVerify", do: func(a *actor) {
			a.verify(leaves.root.Leaf("thief"), nil)
		}, alert: alert.DecryptError, code: code.BadHandshakeProof, says: "did not prove"},
		{name: "a server's signature", set: mutually, at: "CertificateVerify", do: func(a *actor) {
			a.verifyBy(key, suite.ECDSAWithP256AndSHA256, observe.Server, nil)
		}, alert: alert.DecryptError, code: code.BadHandshakeProof, says: "did not prove"},
		{name: "a wrong Finished", set: mutually, at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData[31] ^= 0x80 })
		}, alert: alert.DecryptError, code: code.BadFinished, says: "Finished is wrong"},
		{name: "a wrong Finished without a certificate", at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData[0] ^= 1 })
		}, alert: alert.DecryptError, code: code.BadFinished, says: "Finished is wrong"},
		{name: "an empty Finished", at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData = nil })
		}, alert: alert.DecodeError, code: code.BadMessage, says: "has 0 bytes; with TLS_AES_128_GCM_SHA256 it has 32"},
		{name: "a Finished with a byte more", at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData = append(m.VerifyData, 0) })
		}, alert: alert.DecodeError, code: code.BadMessage, says: "has 33 bytes"},
		{name: "the server's Finished sent back", at: "Finished", do: func(a *actor) {
			a.say(Handshake, a.peer.sent[len(a.peer.sent)-1].msg)
		}, alert: alert.DecryptError, code: code.BadFinished, says: "Finished is wrong"},
		{name: "a certificate that nobody asked for", at: "Finished", do: func(a *actor) { a.certificate(key, nil) }, alert: unexpected, says: "Finished was expected, Certificate came"},
		{name: "EndOfEarlyData that nobody began", at: "Finished", do: func(a *actor) { a.say(Handshake, []byte{byte(message.TypeEndOfEarlyData), 0, 0, 0}) }, alert: unexpected, says: "EndOfEarlyData came"},
	}
}

func TestAClientThatLiesIsRefused(t *testing.T) {
	for _, l := range clientLies() {
		t.Run(l.name, func(t *testing.T) {
			s := usual()
			if l.set != nil {
				l.set(&s)
			}
			a := newClientActor(t, s)
			a.honestClient(s.server.ClientAuth != NoClientCertificate, l.at, func() { l.do(a) })
			f := failedWith(t, a.peer.err, l.alert)
			if l.code != "" && f.Code != l.code || !strings.Contains(f.Reason, l.says) {
				t.Errorf("%v: %v, expected %v and %q", f.Code, f, l.code, l.says)
			}
			finished(t, a.peer)
		})
	}
}

// An RSA key signs by the schemes of its OID, and by no others (RFC 8446,
// section 4.2.3).
func TestAnRSAKeySignsBySchemesOfItsOID(t *testing.T) {
	for kind, wrong := range map[string]suite.Scheme{"rsa2048": suite.PSSPSSWithSHA256, "rsapss2048": suite.RSAPSSWithSHA256} {
		a := newServerActor(t, usual())
		a.serverHello(nil)
		a.extensions(nil)
		a.certificate(leaf(kind), nil)
		// The signature is one that a lax verifier would take: the two differ in
		// name alone.
		a.verify(leaf(kind), func(m *message.CertificateVerify) { m.Scheme = wrong })
		if f := failedWith(t, a.peer.err, alert.IllegalParameter); !strings.Contains(f.Reason, "does not fit the key") {
			t.Error(f)
		}
	}
}

// A client may offer a ticket, early data, GREASE and what it likes: the
// handshake is a full one.
func TestClientsMayOfferMoreThanOursDoes(t *testing.T) {
	psk := &message.PreSharedKeys{Identities: []message.PSKIdentity{{Identity: []byte{1}}}, Binders: [][]byte{make([]byte, 32)}}
	for name, edit := range map[string]func(*message.ClientHello){
		"a ticket":                   func(m *message.ClientHello) { m.PSK = psk },
		"a ticket and early data":    func(m *message.ClientHello) { m.PSK, m.EarlyData = psk, true },
		"no session identifier":      func(m *message.ClientHello) { m.SessionID = nil },
		"a short session identifier": func(m *message.ClientHello) { m.SessionID = []byte{1} },
		"no server name":             func(m *message.ClientHello) { m.ServerName = "" },
		"no PSK modes":               func(m *message.ClientHello) { m.PSKModes = nil },
		"a cookie from elsewhere":    func(m *message.ClientHello) { m.Cookie = []byte("old") },
		"GREASE": func(m *message.ClientHello) {
			m.CipherSuites = append([]suite.ID{0x1a1a}, m.CipherSuites...)
			m.Groups = append([]suite.GroupID{0x2a2a}, m.Groups...)
			m.KeyShares = append([]message.KeyShare{{Group: 0x2a2a, Data: []byte{0}}}, m.KeyShares...)
			m.Versions = []uint16{0x3a3a, 0x0304, 0x0303}
			m.Schemes = append([]suite.Scheme{0x4a4a}, m.Schemes...)
			m.ALPN = []string{"\x0a\x0a", "h2"}
			m.Extensions = []message.Extension{{Type: 0x5a5a}, {Type: 0x6a6a, Body: []byte{0}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.server.ALPN = []string{"h2"}
			a := newClientActor(t, s)
			a.clientHello(edit)
			a.flight()
			a.finished(nil)
			if a.peer.err != nil || !a.peer.done {
				t.Fatalf("done: %v, %v", a.peer.done, a.peer.err)
			}
			if len(a.reply.SessionID) != len(a.hello.SessionID) || a.reply.HasPSK {
				t.Errorf("the server answered %+v", a.reply)
			}
			if want := a.hello.EarlyData; a.peer.skips != want {
				t.Errorf("skips early data: %v, expected %v", a.peer.skips, want)
			}
			// The compatibility record is for those who asked for the disguise.
			if want := len(a.hello.SessionID) > 0; slices.Contains(a.peer.story, "ccs") != want {
				t.Errorf("sent change_cipher_spec: %v, expected %v", !want, want)
			}
		})
	}
}
