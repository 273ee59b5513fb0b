package handshake

import (
	"fmt"
	"io"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Machine is one end of one handshake. It is not safe for concurrent use.
//
// An error is a *Failure. It ends the handshake: the caller sends its alert
// under the keys in force, and every later call gives the same error.
type Machine interface {
	// Message takes one whole handshake message, header included, that arrived
	// at level. It is valid only during the call: what the machine keeps, it
	// copies. While the machine waits for a blocking operation, the message is
	// queued, within a limit.
	Message(level Level, msg []byte) error
	// Next is the next event, in order; false when there is none for now.
	Next() (Event, bool)
	// Resolve gives the answer to an operation that Next told of, once.
	Resolve(op *Op, answer Answer) error
	// Waiting says whether an unanswered operation stops the machine: nothing
	// that arrives now can be used before it is answered.
	Waiting() bool
	// Expecting names the message that is waited for.
	Expecting() string
	// Result is what came of it, nil before Done.
	Result() *Result
	// Shown is the credential that we have shown so far, or nil.
	Shown() *Credential
	// Discard zeroes what is secret and still held. After it the machine
	// refuses everything.
	Discard()
}

// Level is the protection under which handshake bytes travel.
type Level = observe.Level

// The levels of TLS 1.3.
const (
	Initial     = observe.Initial
	Early       = observe.Early
	Handshake   = observe.Handshake
	Application = observe.Application
)

// EventKind says what a machine wants.
type EventKind uint8

// What a machine can want.
const (
	// Send: Bytes, whole messages, are to be sent at Level. Sends in a row at one
	// level may share a record.
	Send EventKind = iota + 1
	// ChangeCipherSpec: where records are used, the compatibility record of RFC
	// 8446, appendix D.4, is to be sent now.
	ChangeCipherSpec
	// Keys: what travels in Direction from here on is protected by Secret, a
	// traffic secret of Suite, at Level. No byte of an older level may wait
	// unread in that direction. At level Early up to Limit bytes of application
	// data may travel.
	Keys
	// PeerParameters: Bytes are the peer's transport parameters (QUIC only). They
	// are proven when the handshake is.
	PeerParameters
	// SkipEarlyData: the client sends early data that is not accepted; records
	// that do not open are to be dropped, up to Limit bytes, until one does.
	SkipEarlyData
	// EarlyBegun: a server's flight is out and it took the early data, which may
	// be read now. Result is there, but for what stands after the handshake.
	EarlyBegun
	// EarlyEnded: the server did not take the client's early data. Until the next
	// Keys, what is sent is in the clear.
	EarlyEnded
	// RecordLimits: protected records from here on have at most WriteLimit bytes of
	// content, type and padding, and those of the peer at most ReadLimit, its early
	// data aside.
	RecordLimits
	// Ask: Op is to be carried out and resolved.
	Ask
	// Done: the handshake is over, Result is there, and the machine can be let go.
	Done
)

// Direction is a direction of traffic, seen from this end.
type Direction uint8

// The directions.
const (
	Read Direction = iota + 1
	Write
)

// Event is one thing that a machine wants. Bytes stay valid as long as the
// machine; Secret is the machine's, and valid until the next call.
type Event struct {
	Kind      EventKind
	Level     Level
	Direction Direction
	Bytes     []byte
	Suite     *suite.Suite
	Secret    []byte
	Limit     int64
	// Exporter and Protocol come with a client's keys for early data: what exports
	// from the early secret, and the ALPN protocol that the data is for. With
	// EarlyBegun comes the handshake's own Exporter.
	Exporter *Exporter
	Protocol string
	Op       *Op

	ReadLimit, WriteLimit int
}

// OpKind names an operation.
type OpKind uint8

// The operations.
const (
	// SelectCertificate asks which certificate to show. Resolved with a
	// Credential; nil shows none, which only a client may.
	SelectCertificate OpKind = iota + 1
	// Sign asks for a signature over Op.Input with Op.Credential by Op.Scheme.
	Sign
	// VerifyPeer asks for a judgement of Op.Chain, whose key has been proven.
	// An answer without an error admits the peer. Where Op.Resumed, nothing was
	// proven now: Chain is what was shown in the full handshake, and an error
	// means that it takes a full handshake, in which the peer is judged anew.
	VerifyPeer
	// FindTicket asks a client for a session to offer; nil offers none. With
	// Config.PSKs it asks for external keys, too.
	FindTicket
	// OpenTicket asks a server for the session behind one of Op.Identities; nil
	// makes it a full handshake. The session must have been made under what
	// holds now.
	OpenTicket
	// SealTicket asks a server for a ticket that stands for Op.Session, whose
	// Secret is valid until it is resolved; an empty ticket gives none.
	SealTicket
	// TransportParameters asks for ours (QUIC only); a server has been told the
	// client's in PeerParameters.
	TransportParameters
	// RegisterEarlyData asks a server whether the hello of Op.EarlyID, which
	// brings early data, is one that was not there before. Resolved with
	// Fresh, once for each: all else, an error included, refuses the early data and
	// no more than that.
	RegisterEarlyData
	// MakeCookie asks a server for a cookie that holds Op.Input, sealed for this
	// client and for a short time. OpenCookie asks for what is in one; an empty
	// answer says that it is not ours, or too old.
	MakeCookie
	OpenCookie
	// DecryptECH asks a server for what is in Op.ECH, encrypted; no Opened says
	// that no key of ours reads it, and the outer hello is answered.
	DecryptECH
)

// String is the operation's name.
func (k OpKind) String() string {
	switch k {
	case SelectCertificate:
		return "SelectCertificate"
	case Sign:
		return "Sign"
	case VerifyPeer:
		return "VerifyPeer"
	case FindTicket:
		return "FindTicket"
	case OpenTicket:
		return "OpenTicket"
	case SealTicket:
		return "SealTicket"
	case TransportParameters:
		return "TransportParameters"
	case RegisterEarlyData:
		return "RegisterEarlyData"
	case MakeCookie:
		return "MakeCookie"
	case OpenCookie:
		return "OpenCookie"
	case DecryptECH:
		return "DecryptECH"
	}
	return "unknown"
}

// Op is an operation that the machine needs and does not do itself. It stays
// valid until it is resolved.
type Op struct {
	Kind OpKind

	// For SelectCertificate and OpenTicket: what the peer said of what it takes;
	// Types are the types of certificate. FindTicket and SealTicket have the
	// ServerName.
	ServerName  string
	Schemes     []suite.Scheme
	Authorities [][]byte
	ALPN        []string
	Types       []CertificateType
	// For SelectCertificate too: in which algorithms the chain may be signed, where
	// the peer tells them apart from Schemes; what its certificate's extensions must
	// hold; and whether an OCSP response and timestamps are wanted beside it.
	CertificateSchemes []suite.Scheme
	Filters            []message.OIDFilter
	WantsOCSP          bool
	WantsSCT           bool
	Delegated          []suite.Scheme // of delegated credentials; empty: none are taken
	// TrustAnchors are those that the peer says it trusts; nil where it does not
	// speak of any.
	TrustAnchors []message.TrustAnchorID

	// For Sign.
	Credential *Credential
	Scheme     suite.Scheme
	Input      []byte

	// For VerifyPeer: leaf first, in DER; of the type RawPublicKey one
	// SubjectPublicKeyInfo. The receiver may keep it. Resumed, with SealTicket too,
	// is whether it is about a session that goes on.
	Chain [][]byte
	Type  CertificateType
	// Delegation is the delegated credential by which the peer proved itself, nil
	// for none.
	Delegation *Delegation
	Resumed    bool
	// Bound, for VerifyPeer of a session: the handshake rests on it by now, and ends
	// where its peer is refused.
	Bound bool
	// PublicName, if not "", is whom the peer has to be in the place of whom we
	// meant: it could not read our encrypted hello.
	PublicName string

	// For DecryptECH: valid until it is resolved.
	ECH *message.ECHHello
	AAD []byte
	// Proven, for VerifyPeer, is that of the external key that was used: there is
	// no Chain then.
	Proven any
	// For VerifyPeer: the OCSP responses that came beside Chain, nil where none did,
	// and the timestamps that came beside the leaf. Nobody has looked at them.
	OCSP, SCTs [][]byte

	// For OpenTicket: what the client offers, its first choice first, and the
	// suite whose hash the session must have. Valid until it is resolved.
	Identities [][]byte
	Suite      *suite.Suite

	// For SealTicket.
	Session *Session

	// For RegisterEarlyData.
	EarlyID [32]byte

	pending bool
}

// Answer resolves an operation. Where Err is not nil the operation failed: Alert
// goes on the wire, and Fault and Code tell our own side whose failure it is;
// left zero they are internal_error, Misuse and the code of a broken operation.
type Answer struct {
	Credential *Credential
	Signature  []byte
	// Session answers FindTicket and OpenTicket; it is the machine's from then
	// on. Ticket and its Lifetime in seconds answer SealTicket; Ticket answers
	// MakeCookie and OpenCookie.
	Session *Session
	// PSKs answers FindTicket with external keys; they are the machine's.
	PSKs     []*Session
	Ticket   []byte
	Lifetime uint32
	// TrustAnchors answers a server's SelectCertificate: those that it has
	// certificates under for this client, by preference. They are told to a client
	// that asked.
	TrustAnchors []message.TrustAnchorID
	// Parameters answers TransportParameters; nil is the same as empty.
	Parameters []byte
	// Fresh answers RegisterEarlyData.
	Fresh bool
	// Opened answers DecryptECH; where it is nil, the client is told RetryConfigs,
	// an ECHConfigList, if there is one.
	Opened       *ECHOpened
	RetryConfigs []byte
	Err          error
	Alert        alert.Alert
	Fault        Fault
	Code         code.Code
}

func (a *Answer) destroy() {
	a.Session.destroy()
	for _, k := range a.PSKs {
		k.destroy()
	}
}

// Credential is a certificate chain that can be shown. It is immutable, and not
// to be copied.
type Credential struct {
	// Type is what it is: a chain of certificates, or a raw public key.
	Type CertificateType
	// Wire is the whole Certificate message with an empty context.
	Wire []byte
	// Schemes are those that its key can sign with, by preference.
	Schemes []suite.Scheme
	// Delegated is the delegated credential that stands in Wire, nil for none.
	Delegated *Delegation
	// Named is whether Wire says that the chain stands under a trust anchor that the
	// peer named.
	Named bool
	// Value is whatever the owner needs to find the key again.
	Value any

	forms forms
}

// Fault is whose failure it is.
type Fault uint8

// The faults; mtls.Fault tells the same to the outside.
const (
	OurPolicy Fault = iota + 1
	PeerMisbehaved
	PeerIncompatible
	Misuse
)

// Failure ends a handshake.
type Failure struct {
	// Alert goes to the peer.
	Alert alert.Alert
	Code  code.Code
	Fault Fault
	// At is the message at which it happened.
	At string
	// Reason is a sentence without a full stop.
	Reason string
	// Err is the error underneath, if there is one.
	Err error
}

// Error is where and why.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %s (%s)", f.At, f.Reason, f.Alert)
}

// Unwrap is the error underneath.
func (f *Failure) Unwrap() error { return f.Err }

// ClientAuth is what a server asks of its clients.
type ClientAuth uint8

// What a server can ask.
const (
	NoClientCertificate ClientAuth = iota
	RequestClientCertificate
	RequireClientCertificate
)

// Config is what one end is set to. It is shared by all its handshakes and never
// changes.
type Config struct {
	Suites  []suite.ID
	Groups  []suite.GroupID
	Schemes []suite.Scheme
	// CertificateSchemes are what we take in the signatures of certificates
	// (signature_algorithms_cert).
	CertificateSchemes []suite.Scheme
	ALPN               []string
	Random             io.Reader
	Observer           observe.Observer
	// KeyLog, if not nil, is given every traffic secret with its label in the NSS
	// key log format. The secret is valid only during the call.
	KeyLog func(label string, clientRandom, secret []byte)

	// KeyShares is how many key shares a client sends at first, 1 or 2, where
	// Shares, the groups in which it sends them, is nil. Shares come from Groups, in
	// their order; where there are none, the server has to ask for one.
	KeyShares int
	Shares    []suite.GroupID
	// GREASE mixes values that mean nothing among what we offer: a client in its
	// hello, a server in CertificateRequest and NewSessionTicket (RFC 8701).
	// Permute has a client put its extensions into a random order.
	GREASE, Permute bool

	// QUIC has the handshake be that of QUIC: see quic.go.
	QUIC bool

	// RecordSizeLimit is how long a protected record we take, with its type and
	// padding: 64 to 2^14+1; 0 does not speak of it (RFC 8449).
	RecordSizeLimit uint16
	// Certificates says what may stand around certificates.
	Certificates Certificates

	// ClientAuth is what a server asks of its clients; Authorities are the DER
	// names that it, or a client, hints at.
	ClientAuth  ClientAuth
	Authorities func() [][]byte

	// TrustAnchors are the identifiers of those that we trust, which a client names
	// in its hello and a server in its request; nil does not speak of any.
	TrustAnchors []message.TrustAnchorID

	// ECH has a server ask for what clients send encrypted. GreaseECH has a client
	// that encrypts nothing look as if it did (RFC 9849, section 6.2).
	ECH       bool
	GreaseECH bool

	// SideALPN, if not empty, is chosen by a server where a client offers it and
	// nothing else, whatever ALPN says.
	SideALPN string

	// PostHandshakeAuth has a client offer to authenticate after the handshake.
	PostHandshakeAuth bool

	// LegacyPKCS1 has a server take PKCS #1 v1.5 of clients (RFC 9963).
	LegacyPKCS1 bool

	// PeerTypes are the types of certificate that we take, by preference, and
	// OwnTypes those that a client can show. They are asked once in a handshake;
	// nil, and nothing, are X.509.
	PeerTypes, OwnTypes func() []CertificateType

	// Delegated are the schemes that the keys of delegated credentials may sign with;
	// empty: such are not taken.
	Delegated []suite.Scheme

	// Resume has a client ask for sessions to offer and keep those that it is
	// given, and a server open and seal tickets. Without it neither happens.
	Resume bool
	// MaxEarlyData, with Resume, is how many bytes of early data a server's
	// tickets allow; 0 takes none. A client offers it where the session that
	// FindTicket gives allows it.
	MaxEarlyData uint32
	// PSKs has a client ask for external keys to offer (FindTicket), and a server
	// look for them (OpenTicket). PSKOnly takes nothing else. HasKey tells a server
	// whether one of the identities is a key that goes with the suite's hash, so that
	// it can choose a suite that fits; it only looks, and does not wait.
	PSKs    bool
	PSKOnly bool
	HasKey  func(identities [][]byte, s *suite.Suite) bool
	// Cookies has a server answer each first hello with a HelloRetryRequest, and
	// keep nothing until the second.
	Cookies bool
	// TicketRequest is how many tickets a client asks for (RFC 9149). Tickets is
	// how many a server gives to who asks for as many; who does not ask gets one.
	TicketRequest message.TicketRequest
	Tickets       int
}

// Result is what a handshake came to.
type Result struct {
	Suite *suite.Suite
	Group suite.GroupID
	// Scheme is the one that the peer signed with; 0 where it showed nothing, and
	// where the handshake was resumed.
	Scheme     suite.Scheme
	ALPN       string
	ServerName string
	Retried    bool
	// ECH is what became of Encrypted Client Hello.
	ECH ECHStatus
	// Resumed is whether it goes on from an earlier session. PeerChain and Local
	// are then those of the full handshake.
	Resumed bool
	// AgeSkew is, on a server's side, by how many milliseconds the ticket is older as
	// the client tells it than as the server knows.
	AgeSkew int32
	// EarlyData is what became of the client's early data; EarlyExporter is there
	// where it was accepted.
	EarlyData     EarlyData
	EarlyExporter *Exporter
	// CertificateRequest is what the server asked a client for, nil for nothing,
	// and where sessions are not kept.
	CertificateRequest *message.CertificateRequest
	// Proven is that of the external key that was used, now or in the full
	// handshake; nil where none was.
	Proven any
	// PeerRecordLimit is how long a protected record the peer takes, 0 where the two
	// did not speak of it.
	PeerRecordLimit int
	// Asked is whether the server asked the client for a certificate.
	Asked bool
	// PeerChain is what the peer showed, and proved the key of; nil for none. It is
	// of PeerType. OwnType is the type that was settled for us.
	PeerChain         [][]byte
	PeerType, OwnType CertificateType
	// TrustAnchors are those that the server has certificates under, as it told us.
	// PeerNamed is whether the peer said that its chain stands under one that we
	// named.
	TrustAnchors []message.TrustAnchorID
	PeerNamed    bool
	// Local is what we showed; nil for none.
	Local *Credential
	// Standing is what goes on after the handshake.
	Standing *Standing
}
