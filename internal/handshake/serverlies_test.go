package handshake

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// honest plays a server that does nothing wrong up to its Finished, with one
// step replaced.
func (a *actor) honest(asks bool, replace string, step func()) {
	key := leaf("p256")
	steps := []struct {
		name string
		do   func()
	}{
		{"ServerHello", func() { a.serverHello(nil) }},
		{"EncryptedExtensions", func() { a.extensions(nil) }},
		{"CertificateRequest", func() { a.request(nil) }},
		{"Certificate", func() { a.certificate(key, nil) }},
		{"CertificateVerify", func() { a.verify(key, nil) }},
		{"Finished", func() { a.finished(nil) }},
	}
	for _, s := range steps {
		if a.peer.err != nil {
			return
		}
		if s.name == replace {
			step()
		} else if s.name != "CertificateRequest" || asks {
			s.do()
		}
	}
}

func TestTheActorIsTakenForAServer(t *testing.T) {
	for _, asks := range []bool{false, true} {
		a := newServerActor(t, usual())
		a.honest(asks, "", nil)
		if a.peer.err != nil || !a.peer.done || len(a.peer.judged) != 1 {
			t.Fatalf("asked for a certificate: %v; done: %v, %v", asks, a.peer.done, a.peer.err)
		}
	}
}

// lie is what a server does wrong, and what comes of it.
type lie struct {
	name  string
	set   func(*setting)
	asks  bool
	at    string // the step that is replaced
	do    func(*actor)
	alert alert.Alert
	code  code.Code
	says  string
}

func hello(edit func(*actor, *message.ServerHello)) func(*actor) {
	return func(a *actor) { a.serverHello(func(m *message.ServerHello) { edit(a, m) }) }
}

func retry(edit func(*message.ServerHello)) func(*actor) {
	return func(a *actor) { a.retry(edit) }
}

func twoGroups(s *setting) { s.client.Groups = []suite.GroupID{suite.X25519, suite.P256, suite.P384} }

// withKeyOf puts another object identifier into the leaf, in place of its key's.
func withKeyOf(was, is string) func(*message.Certificate) {
	return func(m *message.Certificate) {
		m.Entries[0].Data = bytes.Replace(m.Entries[0].Data, []byte(was), []byte(is), 1)
	}
}

func serverLies() []lie {
	const (
		illegal     = alert.IllegalParameter
		unexpected  = alert.UnexpectedMessage
		unsupported = alert.UnsupportedExtension
	)
	older := func(version uint16, tail string) func(*actor) {
		return hello(func(_ *actor, m *message.ServerHello) {
			m.LegacyVersion, m.Version, m.HasKeyShare, m.CipherSuite = version, 0, false, 0xc02f
			copy(m.Random[32-len(tail):], tail)
		})
	}
	key := leaf("p256")
	return []lie{
		// Versions.
		{name: "TLS 1.2 with its sentinel", at: "ServerHello", do: older(0x0303, "DOWNGRD\x01"), alert: illegal, code: code.Downgrade, says: "somebody on the way"},
		{name: "TLS 1.2 with the sentinel of 1.1", at: "ServerHello", do: older(0x0303, "DOWNGRD\x00"), alert: illegal, code: code.Downgrade, says: "somebody on the way"},
		{name: "TLS 1.1 with its sentinel", at: "ServerHello", do: older(0x0302, "DOWNGRD\x00"), alert: illegal, code: code.Downgrade, says: "somebody on the way"},
		{name: "TLS 1.0 with the sentinel of 1.2", at: "ServerHello", do: older(0x0301, "DOWNGRD\x01"), alert: illegal, code: code.Downgrade, says: "somebody on the way"},
		{name: "TLS 1.2", at: "ServerHello", do: older(0x0303, ""), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "the server speaks TLS 1.2"},
		{name: "TLS 1.2 and nearly a sentinel", at: "ServerHello", do: older(0x0303, "DOWNGRD\x02"), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "TLS 1.2"},
		{name: "TLS 1.2 and a sentinel in the wrong place", at: "ServerHello", do: older(0x0303, "DOWNGRD\x01\x00"), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "TLS 1.2"},
		{name: "TLS 1.0", at: "ServerHello", do: older(0x0301, ""), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "TLS 1.0"},
		{name: "SSL 3", at: "ServerHello", do: older(0x0300, ""), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "SSL 3.0"},
		{name: "TLS 1.3 in the wrong field", at: "ServerHello", do: older(0x0304, ""), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "the server left out supported_versions"},
		{name: "TLS 1.4", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.Version = 0x0305 }), alert: illegal, says: "which was not offered"},
		{name: "TLS 1.2 in supported_versions", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.Version = 0x0303 }), alert: illegal, says: "TLS 1.2, which was not offered"},
		{name: "another legacy_version", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.LegacyVersion = 0x0304 }), alert: illegal, says: "legacy_version"},
		{name: "TLS 1.3 with the legacy_version of SSL 3", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.LegacyVersion = 0x0300 }), alert: alert.ProtocolVersion, says: "older than TLS"},
		// What has to be echoed or left alone.
		{name: "another session identifier", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) {
			m.SessionID = bytes.Clone(m.SessionID)
			m.SessionID[31] ^= 1
		}), alert: illegal, says: "session identifier"},
		{name: "no session identifier", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.SessionID = nil }), alert: illegal, says: "session identifier"},
		{name: "compression", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.Compression = 1 }), alert: alert.DecodeError, says: "compression"},
		// What was not offered.
		{name: "a suite that was not offered", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.CipherSuite = suite.AES256GCMSHA384 }), alert: illegal, says: "TLS_AES_256_GCM_SHA384, which was not offered"},
		{name: "a suite that does not exist", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.CipherSuite = 0x0a0a }), alert: illegal, says: "GREASE(0x0a0a), which was not offered"},
		{name: "a suite of TLS 1.2", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.CipherSuite = 0xc02f }), alert: illegal, says: "which was not offered"},
		{name: "a PSK that was not offered", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.HasPSK = true }), alert: unsupported, says: "pre_shared_key"},
		{name: "a PSK and no key share", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.HasPSK, m.HasKeyShare = true, false }), alert: unsupported, says: "pre_shared_key"},
		{name: "an unknown extension", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) {
			m.Extensions = []message.Extension{{Type: 0x1234}}
		}), alert: unsupported, says: "extension(4660)"},
		{name: "an extension of EncryptedExtensions", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) {
			m.Extensions = []message.Extension{{Type: message.ExtALPN, Body: []byte{0, 3, 2, 'h', '2'}}}
		}), alert: illegal, says: "must not stand there"},
		// Key shares.
		{name: "no key share", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.HasKeyShare = false }), alert: alert.MissingExtension, code: code.MissingExtension, says: "no key share"},
		{name: "a key share in a group without ours", set: twoGroups, at: "ServerHello", do: hello(func(a *actor, m *message.ServerHello) {
			m.KeyShare.Group = suite.P256
		}), alert: illegal, says: "secp256r1, in which we sent none"},
		{name: "a key share in an unknown group", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.KeyShare.Group = 0x0a0a }), alert: illegal, says: "in which we sent none"},
		{name: "a short key share", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.KeyShare.Data = m.KeyShare.Data[:31] }), alert: illegal, code: code.BadKeyShare, says: "key share is wrong"},
		{name: "a key share of zero", at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) { m.KeyShare.Data = make([]byte, 32) }), alert: illegal, code: code.BadKeyShare, says: "key share is wrong"},
		{name: "a point off the curve", set: func(s *setting) { s.client.Groups = []suite.GroupID{suite.P256} }, at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) {
			m.KeyShare.Data = bytes.Clone(m.KeyShare.Data)
			m.KeyShare.Data[64] ^= 1
		}), alert: illegal, code: code.BadKeyShare, says: "key share is wrong"},
		{name: "a hybrid share that is cut", set: func(s *setting) { s.client.Groups = []suite.GroupID{suite.X25519MLKEM768} }, at: "ServerHello", do: hello(func(_ *actor, m *message.ServerHello) {
			m.KeyShare.Data = m.KeyShare.Data[:len(m.KeyShare.Data)-1]
		}), alert: illegal, code: code.BadKeyShare, says: "key share is wrong"},
		// HelloRetryRequest.
		{name: "a retry that changes nothing", at: "ServerHello", do: retry(func(*message.ServerHello) {}), alert: illegal, says: "change nothing"},
		{name: "a retry to the group that we shared", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) { m.RetryGroup = suite.X25519 }), alert: illegal, says: "which it had"},
		{name: "a retry to a second group that we shared", set: func(s *setting) { twoGroups(s); s.client.KeyShares = 2 }, at: "ServerHello", do: retry(func(m *message.ServerHello) { m.RetryGroup = suite.P256 }), alert: illegal, says: "which it had"},
		{name: "a retry to a group that was not offered", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) { m.RetryGroup = suite.P521 }), alert: illegal, says: "which was not offered"},
		{name: "a retry with a cookie that leaves no room in our hello", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) {
			m.Cookie = make([]byte, 65500)
		}), alert: alert.InternalError, code: code.AnswerTooLarge, says: "too long"},
		{name: "a retry with a cookie to the group that we shared", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) {
			m.RetryGroup, m.Cookie = suite.X25519, []byte("c")
		}), alert: illegal, says: "which it had"},
		{name: "a retry in a suite that was not offered", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) {
			m.RetryGroup, m.CipherSuite = suite.P256, suite.AES256GCMSHA384
		}), alert: illegal, says: "which was not offered"},
		{name: "a retry with another session identifier", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) {
			m.RetryGroup, m.SessionID = suite.P256, make([]byte, 32)
		}), alert: illegal, says: "session identifier"},
		{name: "a retry in TLS 1.2", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) { m.RetryGroup, m.Version = suite.P256, 0x0303 }), alert: illegal, says: "TLS 1.2, which was not offered"},
		{name: "a retry without a version", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) { m.RetryGroup, m.Version = suite.P256, 0 }), alert: alert.ProtocolVersion},
		{name: "a retry with compression", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) { m.RetryGroup, m.Compression = suite.P256, 1 }), alert: alert.DecodeError, says: "compression"},
		{name: "a retry with an extension that was not offered", set: twoGroups, at: "ServerHello", do: retry(func(m *message.ServerHello) {
			m.RetryGroup, m.Extensions = suite.P256, []message.Extension{{Type: 0x1234}}
		}), alert: unsupported, says: "not offered"},
		{name: "a second retry", set: twoGroups, at: "ServerHello", do: func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.RetryGroup = suite.P256 })
			a.retry(func(m *message.ServerHello) { m.RetryGroup = suite.P384 })
		}, alert: unexpected, says: "second HelloRetryRequest"},
		{name: "a second retry, for a cookie", set: twoGroups, at: "ServerHello", do: func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.Cookie = []byte("one") })
			a.retry(func(m *message.ServerHello) { m.Cookie = []byte("two") })
		}, alert: unexpected, says: "second HelloRetryRequest"},
		{name: "another suite after the retry", set: func(s *setting) { twoGroups(s); s.client.Suites = suite.Suites() }, at: "ServerHello", do: func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.RetryGroup, m.CipherSuite = suite.P256, suite.AES128GCMSHA256 })
			a.serverHello(func(m *message.ServerHello) { m.CipherSuite = suite.ChaCha20Poly1305SHA256 })
		}, alert: illegal, says: "TLS_CHACHA20_POLY1305_SHA256 after TLS_AES_128_GCM_SHA256"},
		{name: "the former group after the retry", set: twoGroups, at: "ServerHello", do: func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.RetryGroup = suite.P256 })
			a.serverHello(func(m *message.ServerHello) {
				m.KeyShare = message.KeyShare{Group: suite.X25519, Data: bytes.Repeat([]byte{9}, 32)}
			})
		}, alert: illegal, says: "in which we sent none"},
		{name: "no key share after the retry", set: twoGroups, at: "ServerHello", do: func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.RetryGroup = suite.P256 })
			a.serverHello(func(m *message.ServerHello) { m.HasKeyShare = false })
		}, alert: alert.MissingExtension, says: "no key share"},
		// EncryptedExtensions.
		{name: "ALPN that was not offered", at: "EncryptedExtensions", do: func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) { m.ALPN = "h2" })
		}, alert: unsupported, says: "negotiation"},
		{name: "another protocol than was offered", set: func(s *setting) { s.client.ALPN = []string{"h2"} }, at: "EncryptedExtensions", do: func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) { m.ALPN = "http/1.1\x1b[31m" })
		}, alert: illegal, says: `"http/1.1\x1b[31m", which was not offered`},
		{name: "a server name acknowledged that was not sent", set: func(s *setting) { s.name = "" }, at: "EncryptedExtensions", do: func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) { m.ServerName = true })
		}, alert: unsupported, says: "server_name"},
		{name: "early data accepted", at: "EncryptedExtensions", do: func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) { m.EarlyData = true })
		}, alert: unsupported, says: "early_data"},
		{name: "a record size limit", at: "EncryptedExtensions", do: func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) { m.RecordSizeLimit = 100 })
		}, alert: unsupported, says: "record_size_limit"},
		{name: "an unknown encrypted extension", at: "EncryptedExtensions", do: func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) { m.Extensions = []message.Extension{{Type: 0x2a2a}} })
		}, alert: unsupported, says: "GREASE"},
		{name: "a key share in EncryptedExtensions", at: "EncryptedExtensions", do: func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) {
				m.Extensions = []message.Extension{{Type: message.ExtKeyShare, Body: []byte{0, 29}}}
			})
		}, alert: illegal, says: "must not stand there"},
		// CertificateRequest.
		{name: "a request without schemes", asks: true, at: "CertificateRequest", do: func(a *actor) {
			a.request(func(m *message.CertificateRequest) { m.Schemes = nil })
		}, alert: alert.MissingExtension, says: "signature_algorithms"},
		{name: "a request with a context", asks: true, at: "CertificateRequest", do: func(a *actor) {
			a.request(func(m *message.CertificateRequest) { m.Context = []byte{1} })
		}, alert: illegal, says: "context"},
		{name: "two requests", asks: true, at: "CertificateRequest", do: func(a *actor) { a.request(nil); a.request(nil) }, alert: unexpected, says: "Certificate was expected, CertificateRequest came"},
		{name: "a request after the certificate", at: "CertificateVerify", do: func(a *actor) { a.request(nil) }, alert: unexpected, says: "CertificateVerify was expected"},
		// Certificate.
		{name: "an empty certificate", at: "Certificate", do: func(a *actor) {
			a.certificate(&mint.Leaf{}, nil)
		}, alert: alert.DecodeError, code: code.NoCertificateShown, says: "no certificate"},
		{name: "a context", at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) { m.Context = []byte{1} })
		}, alert: illegal, says: "context"},
		{name: "an OCSP response that nobody asked for", at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) {
				m.Entries[0].Extensions = []message.Extension{{Type: message.ExtStatusRequest, Body: []byte{1, 0, 0, 1, 9}}}
			})
		}, alert: unsupported, says: "status_request, which was not asked for"},
		{name: "an unknown extension beside a certificate", at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) { m.Entries[0].Extensions = []message.Extension{{Type: 0x3a3a}} })
		}, alert: unsupported, says: "not asked for"},
		{name: "a key share beside a certificate", at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) {
				m.Entries[0].Extensions = []message.Extension{{Type: message.ExtKeyShare}}
			})
		}, alert: illegal, says: "must not stand there"},
		{name: "a chain of 17", at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) {
				for len(m.Entries) < 17 {
					m.Entries = append(m.Entries, m.Entries[0])
				}
			})
		}, alert: alert.DecodeError, says: "more than 16"},
		{name: "a certificate that is none", at: "Certificate", do: func(a *actor) {
			a.certificate(key, func(m *message.Certificate) { m.Entries[0].Data = []byte{0x30, 0} })
		}, alert: alert.DecodeError, code: code.Malformed, says: "does not parse"},
		{name: "a key on a curve of old", at: "Certificate", do: func(a *actor) {
			a.certificate(key, withKeyOf("\x2a\x86\x48\xce\x3d\x03\x01\x07", "\x2a\x86\x48\xce\x3d\x03\x01\x01"))
		}, alert: alert.UnsupportedCertificate, code: code.UnsupportedKey, says: "1.2.840.10045.3.1.1 is none of P-256"},
		{name: "an Ed448 key", at: "Certificate", do: func(a *actor) {
			a.certificate(leaf("ed25519"), withKeyOf("\x06\x03\x2b\x65\x70", "\x06\x03\x2b\x65\x71"))
		}, alert: alert.UnsupportedCertificate, code: code.UnsupportedKey, says: "1.3.101.113 is none of ECDSA"},
		{name: "no certificate at all", at: "Certificate", do: func(*actor) {}, alert: unexpected, says: "Certificate was expected, CertificateVerify came"},
		// CertificateVerify and Finished.
		{name: "a certificate without CertificateVerify", at: "CertificateVerify", do: func(*actor) {}, alert: unexpected, says: "CertificateVerify was expected, Finished came"},
		{name: "a certificate without CertificateVerify after a request", asks: true, at: "CertificateVerify", do: func(*actor) {}, alert: unexpected, says: "CertificateVerify was expected, Finished came"},
		{name: "CertificateVerify twice", at: "Finished", do: func(a *actor) { a.verify(key, nil) }, alert: unexpected, says: "Finished was expected"},
		{name: "a scheme that was not offered", set: func(s *setting) { s.client.Schemes = []suite.Scheme{suite.Ed25519} }, at: "CertificateVerify", do: func(a *actor) { a.verify(key, nil) }, alert: illegal, says: "which was not offered"},
		{name: "a scheme of PKCS #1 v1.5", at: "CertificateVerify", do: func(a *actor) {
			a.verify(key, func(m *message.CertificateVerify) { m.Scheme = suite.PKCS1WithSHA256 })
		}, alert: illegal, says: "which was not offered"},
		{name: "a scheme that does not fit the key", at: "CertificateVerify", do: func(a *actor) {
			a.verify(key, func(m *message.CertificateVerify) { m.Scheme = suite.Ed25519 })
		}, alert: illegal, says: "does not fit the key"},
		{name: "a scheme of another curve", at: "CertificateVerify", do: func(a *actor) {
			a.verify(key, func(m *message.CertificateVerify) { m.Scheme = suite.ECDSAWithP384AndSHA384 })
		}, alert: illegal, says: "does not fit the key"},
		{name: "an empty signature", at: "CertificateVerify", do: func(a *actor) {
			a.verify(key, func(m *message.CertificateVerify) { m.Signature = nil })
		}, alert: alert.DecryptError, code: code.BadHandshakeProof, says: "did not prove"},
		{name: "another key's signature", at: "CertificateVerify", do: func(a *actor) {
			a.verify(leaves.root.Leaf("thief"), nil)
		}, alert: alert.DecryptError, code: code.BadHandshakeProof, says: "did not prove"},
		{name: "a client's signature", at: "CertificateVerify", do: func(a *actor) {
			a.verifyBy(key, suite.ECDSAWithP256AndSHA256, observe.Client, nil)
		}, alert: alert.DecryptError, code: code.BadHandshakeProof, says: "did not prove"},
		{name: "a wrong Finished", at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData[0] ^= 1 })
		}, alert: alert.DecryptError, code: code.BadFinished, says: "Finished is wrong"},
		{name: "a short Finished", at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData = m.VerifyData[:31] })
		}, alert: alert.DecodeError, code: code.BadMessage, says: "with TLS_AES_128_GCM_SHA256 it has 32"},
		{name: "an empty Finished", at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData = nil })
		}, alert: alert.DecodeError, code: code.BadMessage, says: "with TLS_AES_128_GCM_SHA256 it has 32"},
		{name: "a long Finished", at: "Finished", do: func(a *actor) {
			a.finished(func(m *message.Finished) { m.VerifyData = append(m.VerifyData, 0) })
		}, alert: alert.DecodeError, code: code.BadMessage, says: "with TLS_AES_128_GCM_SHA256 it has 32"},
		{name: "the client's Finished", at: "Finished", do: func(a *actor) {
			a.server = a.client
			a.finished(nil)
		}, alert: alert.DecryptError, code: code.BadFinished, says: "Finished is wrong"},
	}
}

func TestAServerThatLiesIsRefused(t *testing.T) {
	for _, l := range serverLies() {
		t.Run(l.name, func(t *testing.T) {
			s := usual()
			if l.set != nil {
				l.set(&s)
			}
			a := newServerActor(t, s)
			a.honest(l.asks, l.at, func() { l.do(a) })
			f := failedWith(t, a.peer.err, l.alert)
			if l.code != "" && f.Code != l.code || !strings.Contains(f.Reason, l.says) {
				t.Errorf("%v: %v, expected %v and %q", f.Code, f, l.code, l.says)
			}
			finished(t, a.peer)
		})
	}
}

// What an honest server may do, and not every one does.
func TestServersMayDoMoreThanOursDoes(t *testing.T) {
	for name, play := range map[string]struct {
		set  func(*setting)
		at   string
		asks bool
		do   func(*actor)
	}{
		"retry with a cookie alone": {twoGroups, "ServerHello", false, func(a *actor) {
			share := bytes.Clone(a.hello.KeyShares[0].Data)
			a.retry(func(m *message.ServerHello) { m.Cookie = bytes.Repeat([]byte{7}, 60000) })
			if len(a.hello.Cookie) != 60000 || !bytes.Equal(a.hello.KeyShares[0].Data, share) {
				t.Errorf("the second hello has a cookie of %d bytes and the share %x", len(a.hello.Cookie), a.hello.KeyShares[0].Data)
			}
			a.serverHello(nil)
		}},
		"retry with a cookie and a group": {twoGroups, "ServerHello", true, func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.RetryGroup, m.Cookie = suite.P384, []byte("cookie") })
			if string(a.hello.Cookie) != "cookie" || len(a.hello.KeyShares) != 1 || a.hello.KeyShares[0].Group != suite.P384 {
				t.Errorf("the second hello has the cookie %q and shares in %v", a.hello.Cookie, a.hello.KeyShares)
			}
			a.serverHello(nil)
		}},
		"retry in the second suite": {func(s *setting) { twoGroups(s); s.client.Suites = suite.Suites() }, "ServerHello", false, func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.RetryGroup, m.CipherSuite = suite.P256, suite.AES256GCMSHA384 })
			a.serverHello(func(m *message.ServerHello) { m.CipherSuite = suite.AES256GCMSHA384 })
		}},
		"tell its groups": {nil, "EncryptedExtensions", false, func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) {
				m.Groups, m.ServerName = []suite.GroupID{suite.P256, 0x0a0a}, true
			})
		}},
		"ask with unknown extensions": {nil, "CertificateRequest", true, func(a *actor) {
			a.request(func(m *message.CertificateRequest) {
				m.Extensions = []message.Extension{{Type: 0x4a4a, Body: []byte{1}}, {Type: message.ExtOIDFilters, Body: []byte{0, 0}}}
			})
		}},
		"show sixteen certificates": {nil, "Certificate", false, func(a *actor) {
			a.certificate(leaf("p256"), func(m *message.Certificate) {
				for len(m.Entries) < message.MaxChain {
					m.Entries = append(m.Entries, message.CertificateEntry{Data: []byte("what follows the leaf is the verifier's to judge")})
				}
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			if play.set != nil {
				play.set(&s)
			}
			a := newServerActor(t, s)
			a.honest(play.asks, play.at, func() { play.do(a) })
			if a.peer.err != nil || !a.peer.done {
				t.Errorf("done: %v, %v", a.peer.done, a.peer.err)
			}
		})
	}
}

// The second hello is the first, but for what was asked for (RFC 8446, section
// 4.1.2).
func TestTheSecondHelloIsTheFirstWithWhatWasAskedFor(t *testing.T) {
	s := usual()
	s.client.Groups, s.client.KeyShares, s.client.ALPN = suite.Groups(), 2, []string{"h2"}
	a := newServerActor(t, s)
	first := a.hello
	first.Raw = bytes.Clone(first.Raw)
	if err := first.Parse(first.Raw); err != nil {
		t.Fatal(err)
	}
	a.retry(func(m *message.ServerHello) { m.RetryGroup = suite.P384 })
	if a.peer.err != nil {
		t.Fatal(a.peer.err)
	}
	want := first
	want.KeyShares, want.Cookie = a.hello.KeyShares, nil
	want.Extensions = nil
	b, err := want.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, a.hello.Raw) {
		t.Errorf("the second hello is\n%x\nexpected\n%x", a.hello.Raw, b)
	}
}
