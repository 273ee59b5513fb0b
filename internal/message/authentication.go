package message

import (
	"github.com/mutual-tls/mutual/internal/suite"
)

// EncryptedExtensions is the server's second message (RFC 8446, section 4.3.1).
type EncryptedExtensions struct {
	Raw []byte
	// Extensions are all, in order, when parsed; when made, they are added as
	// they are.
	Extensions      []Extension
	ALPN            string
	ServerName      bool
	Groups          []suite.GroupID
	EarlyData       bool
	RecordSizeLimit uint16
	// TransportParameters are QUIC's, nil where there are none.
	TransportParameters []byte
	Tickets             TicketsExpected
	// ECHRetryConfigs is the ECHConfigList of encrypted_client_hello, nil where
	// there is none.
	ECHRetryConfigs []byte
	// ClientType and ServerType are what the client is to show, and what the
	// server shows; nil where the extension is not there.
	ClientType, ServerType *CertificateType
	// TrustAnchors are those that the server has certificates under, by its
	// preference; nil where the extension is not there.
	TrustAnchors []TrustAnchorID
}

// Parse reads msg, a whole message.
func (m *EncryptedExtensions) Parse(msg []byte) error {
	const t = TypeEncryptedExtensions
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = EncryptedExtensions{Raw: msg, Extensions: m.Extensions[:0], Groups: m.Groups[:0]}
	block := r.vec16()
	if !r.ok() {
		return decodeError(t, "its extensions do not end where it ends")
	}
	if m.Extensions, err = extensions(m.Extensions, block, t, inEE); err != nil {
		return err
	}
	for i := range m.Extensions {
		x := &m.Extensions[i]
		switch x.Type {
		case ExtALPN:
			var space [1]string
			names, err := protocols(space[:0], x, t)
			if err != nil {
				return err
			}
			if len(names) != 1 {
				return decodeError(t, "it chooses %d protocols instead of one", len(names))
			}
			m.ALPN = names[0]
		case ExtServerName:
			m.ServerName = true
			if err := empty(x, t); err != nil {
				return err
			}
		case ExtSupportedGroups:
			r := reader{b: x.Body}
			var ok bool
			if m.Groups, ok = u16s(m.Groups, r.vec16(), maxList); !ok || !r.ok() {
				return decodeError(t, "%s does not parse", x.Type)
			}
		case ExtClientCertificateType, ExtServerCertificateType:
			v, err := certificateType(x, t)
			if err != nil {
				return err
			}
			if x.Type == ExtClientCertificateType {
				m.ClientType = &v
			} else {
				m.ServerType = &v
			}
		case ExtEarlyData:
			m.EarlyData = true
			if err := empty(x, t); err != nil {
				return err
			}
		case ExtEncryptedClientHello:
			if _, err := ParseECHConfigList(x.Body); err != nil {
				return decodeError(t, "%s does not parse: %v", x.Type, err)
			}
			m.ECHRetryConfigs = x.Body
		case ExtRecordSizeLimit:
			if m.RecordSizeLimit, err = recordSizeLimit(x, t); err != nil {
				return err
			}
		case ExtTrustAnchors:
			if m.TrustAnchors, err = trustAnchorList(x, t); err != nil {
				return err
			}
		case ExtQUICTransportParameters:
			m.TransportParameters = x.Body
		case ExtTicketRequest:
			if err := m.Tickets.parse(x, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// Append appends the whole message to b.
func (m *EncryptedExtensions) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeEncryptedExtensions)
	all := w.open(2)
	if m.ServerName {
		w.done(w.ext(ExtServerName), ExtServerName)
	}
	if len(m.Groups) > 0 {
		at := w.ext(ExtSupportedGroups)
		writeU16s(&w, m.Groups, "the list of groups")
		w.done(at, ExtSupportedGroups)
	}
	if m.ALPN != "" {
		at := w.ext(ExtALPN)
		list := w.open(2)
		name := w.open(1)
		w.b = append(w.b, m.ALPN...)
		w.close(name, 1, "the ALPN name")
		w.close(list, 2, "the ALPN list")
		w.done(at, ExtALPN)
	}
	w.certificateType(ExtClientCertificateType, m.ClientType)
	w.certificateType(ExtServerCertificateType, m.ServerType)
	w.trustAnchors(m.TrustAnchors)
	if m.EarlyData {
		w.done(w.ext(ExtEarlyData), ExtEarlyData)
	}
	if m.RecordSizeLimit != 0 {
		at := w.ext(ExtRecordSizeLimit)
		w.u16(m.RecordSizeLimit)
		w.done(at, ExtRecordSizeLimit)
	}
	w.transportParameters(m.TransportParameters)
	w.ticketsExpected(m.Tickets)
	if m.ECHRetryConfigs != nil {
		at := w.ext(ExtEncryptedClientHello)
		w.raw(m.ECHRetryConfigs)
		w.done(at, ExtEncryptedClientHello)
	}
	w.verbatim(m.Extensions)
	w.close(all, 2, "the extensions block")
	return w.end(b, start, TypeEncryptedExtensions)
}

// CertificateRequest asks the client for a certificate (RFC 8446, section
// 4.3.2). Extensions that are not known are ignored, as the RFC wants.
type CertificateRequest struct {
	Raw, Context []byte
	// Extensions are all, in order, when parsed; when made, they are added as
	// they are.
	Extensions           []Extension
	Schemes, CertSchemes []suite.Scheme
	// Delegated are the schemes of delegated credentials (RFC 9345, section 4.1.2).
	Delegated       []suite.Scheme
	Authorities     [][]byte
	Filters         []OIDFilter
	CertCompression []Compression
	OCSP, SCT       bool
	// TrustAnchors are those that its sender trusts; nil where it names none so.
	TrustAnchors []TrustAnchorID

	// ByClient makes it a ClientCertificateRequest (RFC 9261, section 4): of the
	// same structure, outside of any handshake, and it may name the server.
	ByClient   bool
	ServerName string
}

// Parse reads msg, a whole message.
func (m *CertificateRequest) Parse(msg []byte) error {
	return m.parse(TypeCertificateRequest, inCR, msg)
}

// ParseByClient reads msg, a whole ClientCertificateRequest.
func (m *CertificateRequest) ParseByClient(msg []byte) error {
	if err := m.parse(TypeClientCertificateRequest, inCR|inCCR, msg); err != nil {
		return err
	}
	m.ByClient = true
	return nil
}

func (m *CertificateRequest) parse(t Type, in where, msg []byte) error {
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = CertificateRequest{Raw: msg, Extensions: m.Extensions[:0], Schemes: m.Schemes[:0], CertSchemes: m.CertSchemes[:0], Delegated: m.Delegated[:0], Authorities: m.Authorities[:0], Filters: m.Filters[:0], CertCompression: m.CertCompression[:0]}
	m.Context = r.vec8()
	block := r.vec16()
	if !r.ok() {
		return decodeError(t, "its extensions do not end where it ends")
	}
	if m.Extensions, err = extensions(m.Extensions, block, t, in); err != nil {
		return err
	}
	for i := range m.Extensions {
		x := &m.Extensions[i]
		switch x.Type {
		case ExtSignatureAlgorithms:
			m.Schemes, err = schemes(m.Schemes, x, t)
		case ExtSignatureAlgorithmsCert:
			m.CertSchemes, err = schemes(m.CertSchemes, x, t)
		case ExtDelegatedCredential:
			m.Delegated, err = schemes(m.Delegated, x, t)
		case ExtCertificateAuthorities:
			m.Authorities, err = authorities(m.Authorities, x, t)
		case ExtOIDFilters:
			m.Filters, err = oidFilters(m.Filters, x)
		case ExtCompressCertificate:
			m.CertCompression, err = compressions(m.CertCompression, x, t)
		case ExtStatusRequest: // RFC 8446, section 4.4.2.1
			m.OCSP, err = true, empty(x, t)
		case ExtSCT:
			m.SCT, err = true, empty(x, t)
		case ExtTrustAnchors:
			m.TrustAnchors, err = trustAnchorList(x, t)
		case ExtServerName:
			if m.ServerName, err = serverName(x.Body); err != nil {
				err = decodeError(t, "%s does not parse", x.Type)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Append appends the whole message to b.
func (m *CertificateRequest) Append(b []byte) ([]byte, error) {
	t := TypeCertificateRequest
	if m.ByClient {
		t = TypeClientCertificateRequest
	}
	w, start := begin(b, t)
	w.vec8(m.Context, "the context")
	all := w.open(2)
	if m.ByClient && m.ServerName != "" {
		w.serverName(m.ServerName)
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
	if len(m.Authorities) > 0 {
		w.authorities(m.Authorities)
	}
	if len(m.Filters) > 0 {
		w.oidFilters(m.Filters)
	}
	if len(m.CertCompression) > 0 {
		w.compressions(m.CertCompression)
	}
	if m.OCSP {
		w.done(w.ext(ExtStatusRequest), ExtStatusRequest)
	}
	if m.SCT {
		w.done(w.ext(ExtSCT), ExtSCT)
	}
	w.trustAnchors(m.TrustAnchors)
	w.verbatim(m.Extensions)
	w.close(all, 2, "the extensions block")
	return w.end(b, start, t)
}

// Certificate shows a chain (RFC 8446, section 4.4.2). An empty one shows none.
type Certificate struct {
	Raw, Context []byte
	Entries      []CertificateEntry
}

// CertificateEntry is one certificate, in DER, with its extensions.
type CertificateEntry struct {
	Data       []byte
	Extensions []Extension
}

// Parse reads msg, a whole message.
func (m *Certificate) Parse(msg []byte) error {
	const t = TypeCertificate
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = Certificate{Raw: msg, Entries: m.Entries[:0]}
	m.Context = r.vec8()
	list := reader{b: r.vec24()}
	if !r.ok() {
		return decodeError(t, "its list does not end where it ends")
	}
	for !list.empty() {
		var e CertificateEntry
		e.Data = list.vec24()
		block := list.vec16()
		if list.bad || len(e.Data) == 0 {
			return decodeError(t, "an entry of it is empty or cut off")
		}
		if len(m.Entries) == MaxChain {
			return decodeError(t, "it has more than %d certificates", MaxChain)
		}
		if len(block) > 0 {
			if e.Extensions, err = extensions(nil, block, t, inCT); err != nil {
				return err
			}
		}
		m.Entries = append(m.Entries, e)
	}
	return nil
}

// Append appends the whole message to b.
func (m *Certificate) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeCertificate)
	w.vec8(m.Context, "the context")
	list := w.open(3)
	for i := range m.Entries {
		w.vec24(m.Entries[i].Data, "a certificate")
		at := w.open(2)
		w.verbatim(m.Entries[i].Extensions)
		w.close(at, 2, "the extensions of a certificate")
	}
	w.close(list, 3, "the chain")
	return w.end(b, start, TypeCertificate)
}

// CertificateVerify proves that its sender holds the key of its certificate (RFC
// 8446, section 4.4.3).
type CertificateVerify struct {
	Raw       []byte
	Scheme    suite.Scheme
	Signature []byte
}

// Parse reads msg, a whole message.
func (m *CertificateVerify) Parse(msg []byte) error {
	const t = TypeCertificateVerify
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = CertificateVerify{Raw: msg, Scheme: suite.Scheme(r.u16()), Signature: r.vec16()}
	if !r.ok() {
		return decodeError(t, "it does not parse")
	}
	return nil
}

// Append appends the whole message to b.
func (m *CertificateVerify) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeCertificateVerify)
	w.u16(uint16(m.Scheme))
	w.vec16(m.Signature, "the signature")
	return w.end(b, start, TypeCertificateVerify)
}

// Finished proves that both ends saw the same handshake (RFC 8446, section
// 4.4.4). Its length depends on the hash, which the handshake knows.
type Finished struct {
	Raw, VerifyData []byte
}

// Parse reads msg, a whole message.
func (m *Finished) Parse(msg []byte) error {
	r, err := body(TypeFinished, msg)
	if err != nil {
		return err
	}
	*m = Finished{Raw: msg, VerifyData: r.b}
	return nil
}

// Append appends the whole message to b.
func (m *Finished) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeFinished)
	w.raw(m.VerifyData)
	return w.end(b, start, TypeFinished)
}
