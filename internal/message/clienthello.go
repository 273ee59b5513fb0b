package message

import (
	"github.com/mutual-tls/mutual/internal/suite"
)

// ClientHello is the client's first message (RFC 8446, section 4.1.2). One of an
// older version of TLS parses too, so that it can be answered.
type ClientHello struct {
	// Raw is the whole message, as it was parsed.
	Raw           []byte
	LegacyVersion uint16
	Random        [32]byte
	SessionID     []byte
	CipherSuites  []suite.ID
	Compression   []byte
	// Extensions are all, in order, when parsed; when made, they are added as
	// they are.
	Extensions []Extension
	// Order, if not nil, puts the extensions into an order of its own when the
	// message is made.
	Order *Order

	ServerName   string
	Versions     []uint16
	Groups       []suite.GroupID
	KeyShares    []KeyShare
	HasKeyShares bool
	Schemes      []suite.Scheme
	CertSchemes  []suite.Scheme
	// Delegated are the schemes of delegated credentials (RFC 9345, section 4.1.1).
	Delegated []suite.Scheme
	ALPN      []string
	// ClientTypes and ServerTypes are what the client can show, and what it takes
	// of the server; empty where it says nothing beyond the default.
	ClientTypes       []CertificateType
	ServerTypes       []CertificateType
	Cookie            []byte
	Authorities       [][]byte
	PSKModes          []uint8
	PSK               *PreSharedKeys
	TicketRequest     TicketRequest
	EarlyData         bool
	PostHandshakeAuth bool
	RecordSizeLimit   uint16
	// TransportParameters are QUIC's (RFC 9001, section 8.2), as they are: nil
	// where there are none.
	TransportParameters []byte
	// CertCompression are the algorithms in which a certificate may come; OCSP and
	// SCT are whether a response and timestamps may stand beside it.
	CertCompression []Compression
	OCSP, SCT       bool
	ECH             *ECHHello
	// TrustAnchors are those that the client says it trusts; nil where it does not
	// speak of any, empty where it asks for the server's list alone.
	TrustAnchors []TrustAnchorID
}

// PreSharedKeys is a client's pre_shared_key (RFC 8446, section 4.2.11).
type PreSharedKeys struct {
	Identities []PSKIdentity
	Binders    [][]byte
	// BindersLen is how many bytes the binders take at the end of the message,
	// their length included: the rest is what they sign.
	BindersLen int
}

// PSKIdentity is a PskIdentity.
type PSKIdentity struct {
	Identity      []byte
	ObfuscatedAge uint32
}

// Parse reads msg, a whole message. The struct may have been used before; its
// memory is used again.
func (m *ClientHello) Parse(msg []byte) error {
	const t = TypeClientHello
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = ClientHello{
		Raw: msg, CipherSuites: m.CipherSuites[:0], Extensions: m.Extensions[:0], Versions: m.Versions[:0],
		Groups: m.Groups[:0], KeyShares: m.KeyShares[:0], Schemes: m.Schemes[:0], CertSchemes: m.CertSchemes[:0],
		ALPN: m.ALPN[:0], Authorities: m.Authorities[:0], CertCompression: m.CertCompression[:0],
		ClientTypes: m.ClientTypes[:0], ServerTypes: m.ServerTypes[:0], Delegated: m.Delegated[:0],
	}
	m.LegacyVersion = r.u16()
	copy(m.Random[:], r.take(32))
	m.SessionID = r.vec8()
	if len(m.SessionID) > 32 {
		return decodeError(t, "its session identifier has %d bytes; at most 32 are allowed", len(m.SessionID))
	}
	var ok bool
	if m.CipherSuites, ok = u16s(m.CipherSuites, r.vec16(), maxList); !ok {
		return decodeError(t, "its list of cipher suites does not parse")
	}
	if m.Compression = r.vec8(); len(m.Compression) == 0 {
		return decodeError(t, "its list of compression methods is empty or cut off")
	}
	if r.bad {
		return decodeError(t, "it is cut off")
	}
	if r.empty() {
		return nil // before TLS 1.2 there need not be any extensions
	}
	block := r.vec16()
	if !r.ok() {
		return decodeError(t, "its extensions do not end where it ends")
	}
	if m.Extensions, err = extensions(m.Extensions, block, t, inCH); err != nil {
		return err
	}
	for i := range m.Extensions {
		x := &m.Extensions[i]
		if x.Type == ExtPreSharedKey && i != len(m.Extensions)-1 {
			return illegal(t, "pre_shared_key is not the last extension")
		}
		if err := m.extension(x); err != nil {
			return err
		}
	}
	return nil
}

func (m *ClientHello) extension(x *Extension) (err error) {
	const t = TypeClientHello
	r := reader{b: x.Body}
	var ok bool
	switch x.Type {
	case ExtServerName:
		m.ServerName, err = serverName(x.Body)
		return err
	case ExtSupportedVersions:
		m.Versions, ok = u16s(m.Versions, r.vec8(), 127)
	case ExtSupportedGroups:
		m.Groups, ok = u16s(m.Groups, r.vec16(), maxList)
	case ExtSignatureAlgorithms:
		m.Schemes, err = schemes(m.Schemes, x, t)
		return err
	case ExtSignatureAlgorithmsCert:
		m.CertSchemes, err = schemes(m.CertSchemes, x, t)
		return err
	case ExtDelegatedCredential:
		m.Delegated, err = schemes(m.Delegated, x, t)
		return err
	case ExtKeyShare:
		return m.keyShares(x)
	case ExtALPN:
		m.ALPN, err = protocols(m.ALPN, x, t)
		return err
	case ExtClientCertificateType:
		m.ClientTypes, err = certificateTypes(m.ClientTypes, x, t)
		return err
	case ExtServerCertificateType:
		m.ServerTypes, err = certificateTypes(m.ServerTypes, x, t)
		return err
	case ExtCookie:
		m.Cookie = r.vec16()
		ok = len(m.Cookie) > 0
	case ExtCertificateAuthorities:
		m.Authorities, err = authorities(m.Authorities, x, t)
		return err
	case ExtPSKKeyExchangeModes:
		m.PSKModes = r.vec8()
		ok = len(m.PSKModes) > 0
	case ExtPreSharedKey:
		m.PSK, err = preSharedKeys(x)
		return err
	case ExtTrustAnchors:
		if r.vec16(); r.bad {
			return nil // a draft's number, which others may use: what has no list is theirs
		}
		m.TrustAnchors, err = trustAnchorList(x, t)
		return err
	case ExtCompressCertificate:
		m.CertCompression, err = compressions(m.CertCompression, x, t)
		return err
	case ExtStatusRequest:
		m.OCSP, err = wantsOCSP(x)
		return err
	case ExtSCT:
		m.SCT = true
		return empty(x, t)
	case ExtTicketRequest:
		return m.TicketRequest.parse(x, t)
	case ExtEarlyData:
		m.EarlyData = true
		return empty(x, t)
	case ExtPostHandshakeAuth:
		m.PostHandshakeAuth = true
		return empty(x, t)
	case ExtEncryptedClientHello:
		m.ECH, err = echHello(x)
		return err
	case ExtRecordSizeLimit:
		m.RecordSizeLimit, err = recordSizeLimit(x, t)
		return err
	case ExtQUICTransportParameters:
		m.TransportParameters = x.Body
		return nil
	default:
		return nil
	}
	if !ok || !r.ok() {
		return decodeError(t, "%s does not parse", x.Type)
	}
	return nil
}

// serverName reads server_name (RFC 6066, section 3): one host_name, in the form
// that a name in DNS can have.
func serverName(b []byte) (string, error) {
	const t = TypeClientHello
	r := reader{b: b}
	list := reader{b: r.vec16()}
	kind := list.u8()
	name := list.vec16()
	if !r.ok() || list.bad || len(name) == 0 {
		return "", decodeError(t, "server_name does not parse")
	}
	if kind != 0 || !list.empty() {
		return "", decodeError(t, "server_name holds something else than one host name")
	}
	if len(name) > 255 || name[len(name)-1] == '.' {
		return "", illegal(t, "the host name in server_name is too long, or ends with a dot")
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return "", illegal(t, "the host name in server_name has a byte that no name has")
		}
	}
	return lower(name), nil
}

func lower(b []byte) string {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			l := make([]byte, len(b))
			for i, c := range b {
				if 'A' <= c && c <= 'Z' {
					c += 'a' - 'A'
				}
				l[i] = c
			}
			return string(l)
		}
	}
	return string(b)
}

func (m *ClientHello) keyShares(x *Extension) error {
	const t = TypeClientHello
	m.HasKeyShares = true
	r := reader{b: x.Body}
	list := reader{b: r.vec16()}
	if !r.ok() {
		return decodeError(t, "%s does not parse", x.Type)
	}
	for !list.empty() {
		k := KeyShare{Group: suite.GroupID(list.u16()), Data: list.vec16()}
		if list.bad {
			return decodeError(t, "an entry of %s is cut off", x.Type)
		}
		if len(k.Data) == 0 { // a value that no group has
			return illegal(t, "the key share in %s is empty", k.Group)
		}
		for i := range m.KeyShares {
			if m.KeyShares[i].Group == k.Group {
				return illegal(t, "there are two key shares in %s", k.Group)
			}
		}
		if len(m.KeyShares) == maxKeyShares {
			return decodeError(t, "there are more than %d key shares", maxKeyShares)
		}
		m.KeyShares = append(m.KeyShares, k)
	}
	return nil
}

func preSharedKeys(x *Extension) (*PreSharedKeys, error) {
	const t = TypeClientHello
	const most = 64 // identities; a client offers one or two
	p := &PreSharedKeys{}
	r := reader{b: x.Body}
	ids := reader{b: r.vec16()}
	p.BindersLen = len(r.b)
	binders := reader{b: r.vec16()}
	if binders.empty() {
		return nil, decodeError(t, "%s has no binder", x.Type)
	}
	if !r.ok() || ids.empty() {
		return nil, decodeError(t, "%s does not parse", x.Type)
	}
	for !ids.empty() {
		id := PSKIdentity{Identity: ids.vec16(), ObfuscatedAge: ids.u32()}
		if ids.bad || len(id.Identity) == 0 || len(p.Identities) == most {
			return nil, decodeError(t, "the identities in %s do not parse", x.Type)
		}
		p.Identities = append(p.Identities, id)
	}
	for !binders.empty() {
		b := binders.vec8()
		if binders.bad || len(b) < 32 || len(p.Binders) == most {
			return nil, decodeError(t, "the binders in %s do not parse", x.Type)
		}
		p.Binders = append(p.Binders, b)
	}
	if len(p.Binders) != len(p.Identities) {
		return nil, illegal(t, "%s has %d identities and %d binders", x.Type, len(p.Identities), len(p.Binders))
	}
	return p, nil
}

// Append appends the whole message to b.
func (m *ClientHello) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeClientHello)
	w.u16(m.LegacyVersion)
	w.raw(m.Random[:])
	w.vec8(m.SessionID, "the session identifier")
	writeU16s(&w, m.CipherSuites, "the list of cipher suites")
	w.vec8(m.Compression, "the list of compression methods")
	all := w.open(2)
	if m.ServerName != "" {
		w.serverName(m.ServerName)
	}
	if len(m.Versions) > 0 {
		at := w.ext(ExtSupportedVersions)
		list := w.open(1)
		for _, v := range m.Versions {
			w.u16(v)
		}
		w.close(list, 1, "the list of versions")
		w.done(at, ExtSupportedVersions)
	}
	if len(m.Groups) > 0 {
		at := w.ext(ExtSupportedGroups)
		writeU16s(&w, m.Groups, "the list of groups")
		w.done(at, ExtSupportedGroups)
	}
	if len(m.Schemes) > 0 {
		w.schemes(ExtSignatureAlgorithms, m.Schemes)
	}
	if len(m.CertSchemes) > 0 {
		w.schemes(ExtSignatureAlgorithmsCert, m.CertSchemes)
	}
	if len(m.Delegated) > 0 {
		w.schemes(ExtDelegatedCredential, m.Delegated)
	}
	if m.HasKeyShares {
		at := w.ext(ExtKeyShare)
		list := w.open(2)
		for i := range m.KeyShares {
			w.u16(uint16(m.KeyShares[i].Group))
			w.vec16(m.KeyShares[i].Data, "a key share")
		}
		w.close(list, 2, "the key shares")
		w.done(at, ExtKeyShare)
	}
	if len(m.ALPN) > 0 {
		w.alpn(m.ALPN)
	}
	w.certificateTypes(ExtClientCertificateType, m.ClientTypes)
	w.certificateTypes(ExtServerCertificateType, m.ServerTypes)
	if len(m.Cookie) > 0 {
		at := w.ext(ExtCookie)
		w.vec16(m.Cookie, "the cookie")
		w.done(at, ExtCookie)
	}
	if len(m.Authorities) > 0 {
		w.authorities(m.Authorities)
	}
	if len(m.PSKModes) > 0 {
		at := w.ext(ExtPSKKeyExchangeModes)
		w.vec8(m.PSKModes, "the list of PSK modes")
		w.done(at, ExtPSKKeyExchangeModes)
	}
	w.ticketRequest(m.TicketRequest)
	if m.PostHandshakeAuth {
		w.done(w.ext(ExtPostHandshakeAuth), ExtPostHandshakeAuth)
	}
	if m.EarlyData {
		w.done(w.ext(ExtEarlyData), ExtEarlyData)
	}
	if m.OCSP {
		w.wantOCSP()
	}
	if m.SCT {
		w.done(w.ext(ExtSCT), ExtSCT)
	}
	if len(m.CertCompression) > 0 {
		w.compressions(m.CertCompression)
	}
	w.trustAnchors(m.TrustAnchors)
	if m.RecordSizeLimit != 0 {
		at := w.ext(ExtRecordSizeLimit)
		w.u16(m.RecordSizeLimit)
		w.done(at, ExtRecordSizeLimit)
	}
	w.transportParameters(m.TransportParameters)
	if m.ECH != nil {
		w.echHello(m.ECH)
	}
	w.verbatim(m.Extensions)
	if m.Order != nil {
		m.Order.put(w.b[all:])
	}
	if m.PSK != nil {
		at := w.ext(ExtPreSharedKey)
		ids := w.open(2)
		for _, id := range m.PSK.Identities {
			w.vec16(id.Identity, "a PSK identity")
			w.u32(id.ObfuscatedAge)
		}
		w.close(ids, 2, "the PSK identities")
		binders := w.open(2)
		for _, b := range m.PSK.Binders {
			w.vec8(b, "a PSK binder")
		}
		w.close(binders, 2, "the PSK binders")
		w.done(at, ExtPreSharedKey)
	}
	w.close(all, 2, "the extensions block")
	return w.end(b, start, TypeClientHello)
}

// serverName writes server_name (RFC 6066, section 3).
func (w *writer) serverName(s string) {
	at := w.ext(ExtServerName)
	list := w.open(2)
	w.u8(0)
	name := w.open(2)
	w.b = append(w.b, s...)
	w.close(name, 2, "the server name")
	w.close(list, 2, "the server name")
	w.done(at, ExtServerName)
}
