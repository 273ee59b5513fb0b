package message

import (
	"crypto/sha256"

	"github.com/mutual-tls/mutual/internal/suite"
)

// ServerHello is a ServerHello or a HelloRetryRequest (RFC 8446, sections 4.1.3
// and 4.1.4). One of an older version of TLS parses too, so that it can be told
// apart; its extensions are then kept as they are.
type ServerHello struct {
	Raw           []byte
	LegacyVersion uint16
	Random        [32]byte
	SessionID     []byte
	CipherSuite   suite.ID
	Compression   byte
	// Extensions are all, in order, when parsed; when made, they are added as
	// they are.
	Extensions []Extension

	// Version is supported_versions, 0 where there is none.
	Version     uint16
	KeyShare    KeyShare
	HasKeyShare bool
	// RetryGroup and Cookie are a HelloRetryRequest's.
	RetryGroup suite.GroupID
	Cookie     []byte
	// ECHConfirmation is the 8 bytes of encrypted_client_hello in a
	// HelloRetryRequest; it is written last.
	ECHConfirmation []byte
	PSKIndex        uint16
	HasPSK          bool
}

// RetryRandom is the Random that makes a ServerHello a HelloRetryRequest: the
// SHA-256 of "HelloRetryRequest".
var RetryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// IsRetry says whether it is a HelloRetryRequest.
func (m *ServerHello) IsRetry() bool { return m.Random == RetryRandom }

// Parse reads msg, a whole message.
func (m *ServerHello) Parse(msg []byte) error {
	const t = TypeServerHello
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = ServerHello{Raw: msg, Extensions: m.Extensions[:0]}
	m.LegacyVersion = r.u16()
	copy(m.Random[:], r.take(32))
	m.SessionID = r.vec8()
	m.CipherSuite = suite.ID(r.u16())
	m.Compression = r.u8()
	if r.bad || len(m.SessionID) > 32 {
		return decodeError(t, "it is cut off, or its session identifier is too long")
	}
	if r.empty() {
		return nil
	}
	block := r.vec16()
	if !r.ok() {
		return decodeError(t, "its extensions do not end where it ends")
	}
	in := inSH
	if m.IsRetry() {
		in = inHRR
	}
	// What an older server answers with is none of our table's business.
	if !hasExtension(block, ExtSupportedVersions) {
		in = ^where(0)
	}
	if m.Extensions, err = extensions(m.Extensions, block, t, in); err != nil {
		return err
	}
	if in == ^where(0) {
		return nil
	}
	for i := range m.Extensions {
		if err := m.extension(&m.Extensions[i]); err != nil {
			return err
		}
	}
	return nil
}

func hasExtension(block []byte, t ExtensionType) bool {
	r := reader{b: block}
	for !r.empty() {
		got := ExtensionType(r.u16())
		r.vec16()
		if got == t && !r.bad {
			return true
		}
	}
	return false
}

func (m *ServerHello) extension(x *Extension) error {
	const t = TypeServerHello
	r := reader{b: x.Body}
	ok := true
	switch x.Type {
	case ExtSupportedVersions:
		// 0 is our mark for a server that left the extension out, and no version.
		if m.Version = r.u16(); m.Version == 0 && r.ok() {
			return illegal(t, "supported_versions chooses the version 0")
		}
	case ExtKeyShare:
		if m.IsRetry() {
			m.RetryGroup = suite.GroupID(r.u16())
			ok = m.RetryGroup != 0
			break
		}
		m.HasKeyShare = true
		m.KeyShare = KeyShare{Group: suite.GroupID(r.u16()), Data: r.vec16()}
		ok = len(m.KeyShare.Data) > 0
	case ExtCookie:
		m.Cookie = r.vec16()
		ok = len(m.Cookie) > 0
	case ExtPreSharedKey:
		m.HasPSK = true
		m.PSKIndex = r.u16()
	case ExtEncryptedClientHello:
		m.ECHConfirmation = r.take(ECHConfirmationLen)
	default:
		return nil
	}
	if !ok || !r.ok() {
		return decodeError(t, "%s does not parse", x.Type)
	}
	return nil
}

// Append appends the whole message to b.
func (m *ServerHello) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeServerHello)
	w.u16(m.LegacyVersion)
	w.raw(m.Random[:])
	w.vec8(m.SessionID, "the session identifier")
	w.u16(uint16(m.CipherSuite))
	w.u8(m.Compression)
	all := w.open(2)
	if m.HasPSK {
		at := w.ext(ExtPreSharedKey)
		w.u16(m.PSKIndex)
		w.done(at, ExtPreSharedKey)
	}
	switch {
	case m.RetryGroup != 0:
		at := w.ext(ExtKeyShare)
		w.u16(uint16(m.RetryGroup))
		w.done(at, ExtKeyShare)
	case m.HasKeyShare:
		at := w.ext(ExtKeyShare)
		w.u16(uint16(m.KeyShare.Group))
		w.vec16(m.KeyShare.Data, "the key share")
		w.done(at, ExtKeyShare)
	}
	if len(m.Cookie) > 0 {
		at := w.ext(ExtCookie)
		w.vec16(m.Cookie, "the cookie")
		w.done(at, ExtCookie)
	}
	if m.Version != 0 {
		at := w.ext(ExtSupportedVersions)
		w.u16(m.Version)
		w.done(at, ExtSupportedVersions)
	}
	w.verbatim(m.Extensions)
	if m.ECHConfirmation != nil {
		at := w.ext(ExtEncryptedClientHello)
		w.raw(m.ECHConfirmation)
		w.done(at, ExtEncryptedClientHello)
	}
	w.close(all, 2, "the extensions block")
	return w.end(b, start, TypeServerHello)
}

// MessageHash is the message that stands for a first ClientHello in the
// transcript after a HelloRetryRequest (RFC 8446, section 4.4.1).
func MessageHash(hash []byte) []byte {
	return append([]byte{byte(TypeMessageHash), 0, 0, byte(len(hash))}, hash...)
}
