package code

import "github.com/mutual-tls/mutual/internal/alert"

// M02: the peer broke the protocol.
const (
	BadMessage           Code = "M0201"
	UnexpectedMessage    Code = "M0202"
	IllegalParameter     Code = "M0203"
	MissingExtension     Code = "M0204"
	UnsupportedExtension Code = "M0205"
	BadRecord            Code = "M0206"
	RecordOverflow       Code = "M0207"
	BadHandshakeProof    Code = "M0208"
	BadFinished          Code = "M0209"
	MessageTooLarge      Code = "M0210"
	Flood                Code = "M0211"
	Downgrade            Code = "M0212"
	BadKeyShare          Code = "M0213"
	BadBinder            Code = "M0214"
	NotTLS               Code = "M0215"
	NoCertificateShown   Code = "M0216"
	BadAlert             Code = "M0217"
	QUICViolation        Code = "M0219"
	TooMuchEarlyData     Code = "M0220"
	BadCompression       Code = "M0230"
)

var protocolEntries = []Entry{
	{BadMessage, "message does not parse",
		"A handshake message from the peer breaks the encoding: a length is wrong, a field is cut off, bytes are left over. Its software is broken, something on the way changed the bytes, or it is an attack.",
		"Note the peer's software and version. `mutual explain HOST:PORT` shows the message and where it breaks.",
		alert.DecodeError},
	{UnexpectedMessage, "message out of order",
		"The peer sent a message that may not come at this point of the handshake. TLS 1.3 has one order, and no branch for others.",
		"Note the peer's software and version. `mutual explain HOST:PORT` shows what came and what was due.",
		alert.UnexpectedMessage},
	{IllegalParameter, "forbidden value",
		"A message from the peer parses, but says something that is forbidden: a choice that was never offered, a value that contradicts another, something twice.",
		"Note the peer's software and version. `mutual explain HOST:PORT` shows the message.",
		alert.IllegalParameter},
	{MissingExtension, "required extension missing",
		"The peer left out an extension that TLS 1.3 cannot do without.",
		"Note the peer's software and version; an update may help.",
		alert.MissingExtension},
	{UnsupportedExtension, "extension that was not asked for",
		"The peer answered an extension that was never offered to it.",
		"Note the peer's software and version; an update may help.",
		alert.UnsupportedExtension},
	{BadRecord, "record does not open",
		"A protected record failed its integrity check. Bytes were changed on the way, records are missing or doubled, or the two sides hold different keys.",
		"If it comes back, look for what sits between the two machines: proxies, NAT, faulty network hardware.",
		alert.BadRecordMAC},
	{RecordOverflow, "record too large",
		"The peer sent a record longer than TLS allows. What is spoken there may not be TLS at all.",
		"Check that the port is the right one and speaks TLS.",
		alert.RecordOverflow},
	{BadHandshakeProof, "key was not proven",
		"The signature with which the peer was to prove that it holds its certificate's key (CertificateVerify) is wrong. It has the certificate without the key, or somebody changed the handshake.",
		"On the peer, check that key and certificate belong together: the two outputs of `openssl x509 -pubkey -noout -in CERT` and `openssl pkey -pubout -in KEY` have to be equal.",
		alert.DecryptError},
	{BadFinished, "handshake was changed on the way",
		"The peer's Finished does not match the handshake as we saw it. The two sides saw different messages: something on the way changed them.",
		"Look for what sits between the two machines: proxies, inspection boxes.",
		alert.DecryptError},
	{MessageTooLarge, "message too large",
		"A handshake message from the peer is larger than we take. For a certificate message that is far beyond any real chain.",
		"Have the peer send a shorter chain.",
		alert.IllegalParameter},
	{Flood, "peer keeps us busy for nothing",
		"The peer sent many messages in a row that carry nothing: empty records, key updates, tickets, warnings. Each is legal alone; so many of them are an attack or a bug.",
		"Note the peer's software and version.",
		alert.UnexpectedMessage},
	{Downgrade, "downgrade detected",
		"The server's random carries the mark by which TLS 1.3 servers say that they were made to speak an older version, though both sides speak 1.3. Somebody on the way changed the offer.",
		"Look for what sits between the two machines. It is an attack, or an inspection box that breaks TLS 1.3.",
		alert.IllegalParameter},
	{BadKeyShare, "key share is invalid",
		"The peer's part of the key exchange is not a valid public key of the group: a wrong length, a point off the curve, or a value that makes the secret predictable.",
		"Note the peer's software and version.",
		alert.IllegalParameter},
	{BadBinder, "pre-shared key was not proven",
		"The peer named a pre-shared key or a session, and its proof of holding it (the binder) is wrong.",
		"Have the peer drop its saved sessions, for example by restarting it.",
		alert.DecryptError},
	{NotTLS, "peer does not speak TLS",
		"The first bytes from the peer are no TLS record. A plain HTTP request on a TLS port, or a plain service behind the port that was dialled, looks like this.",
		"Check the port and the scheme (https, not http) on the side that dials.",
		alert.UnexpectedMessage},
	{NoCertificateShown, "server showed no certificate",
		"The server sent an empty certificate message. A server has to show one; a client may be without.",
		"Give the server a certificate and a key.",
		alert.DecodeError},
	{BadAlert, "alert that makes no sense",
		"The peer sent an alert that TLS 1.3 does not know in this form.",
		"Note the peer's software and version.",
		alert.DecodeError},
	{QUICViolation, "QUIC's rules for TLS were broken",
		"The peer speaks TLS 1.3 over QUIC and does what RFC 9001 forbids there: handshake bytes under keys that were replaced already, the session identifier of middlebox compatibility, a ticket with a limit on early data.",
		"Note the peer's software and version; an update may help.",
		alert.InternalError},
	{TooMuchEarlyData, "more early data than allowed",
		"A client sent more data in its first flight (early data, 0-RTT) than the ticket that it resumes with allows, or went on sending it where it is not taken.",
		"Note the client's software and version; it can be told to send no early data.",
		alert.UnexpectedMessage},
	{BadCompression, "compressed certificate does not open",
		"The peer sent its certificate compressed (RFC 8879), and it does not decompress to what was announced: the stream is damaged, too long, too large, or in an algorithm that was not offered. It may be an attack.",
		"Note the peer's software and version. Without an offer of compression certificates come as they are.",
		alert.BadCertificate},
}

// M03: both sides are right, and have nothing in common.
const (
	NoCommonVersion      Code = "M0301"
	NoCommonSuite        Code = "M0302"
	NoCommonGroup        Code = "M0303"
	NoCommonScheme       Code = "M0304"
	NoCommonALPN         Code = "M0305"
	NoFittingCertificate Code = "M0307"
	// NoCommonCertificateType: X.509 on one side, raw public keys on the other.
	NoCommonCertificateType Code = "M0308"
	NoCommonPSK             Code = "M0320"
)

var groundEntries = []Entry{
	{NoCommonVersion, "no common version of TLS",
		"The peer speaks no version that we speak. We speak TLS 1.3; TLS 1.2 and older versions are refused.",
		"Update the peer's TLS library, or allow TLS 1.3 in its configuration. `openssl s_client -tls1_3 -connect HOST:PORT` tests a server.",
		alert.ProtocolVersion},
	{NoCommonSuite, "no common cipher suite",
		"The peer offers none of the TLS 1.3 cipher suites that we take: AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305.",
		"Allow one of them in the configuration of either side.",
		alert.HandshakeFailure},
	{NoCommonGroup, "no common key exchange group",
		"The two sides have no key exchange group in common.",
		"Allow X25519 or P-256 on both sides; nearly everything speaks them.",
		alert.HandshakeFailure},
	{NoCommonScheme, "no common signature scheme",
		"The key of our certificate cannot sign with any scheme that the peer verifies.",
		"Use a certificate with an ECDSA P-256 key, which nearly everything verifies, or widen the peer's list of signature algorithms.",
		alert.HandshakeFailure},
	{NoCommonALPN, "no common application protocol",
		"The client offers application protocols (ALPN), and the server speaks none of them.",
		"Have the client offer what is spoken here, or nothing. A gateway speaks what its --alpn names (h2, http/1.1); an authority speaks with mutual's own agents alone.",
		alert.NoApplicationProtocol},
	{NoFittingCertificate, "no certificate fits",
		"None of our certificates fits what the peer asks for: the authorities that it names, and the signature schemes that it verifies.",
		"Load a certificate of an authority that the peer trusts.",
		alert.HandshakeFailure},
	{NoCommonCertificateType, "no common kind of proof",
		"One side proves itself with a raw public key, and the other takes certificates alone, or the other way round.",
		"Give the one a certificate, or have the other know the key.",
		alert.UnsupportedCertificate},
	{NoCommonPSK, "no common pre-shared key",
		"The two sides have no external pre-shared key in common, and one of them takes nothing else.",
		"Give both sides the same identity, secret, context and hash, and name the same client and server.",
		alert.HandshakeFailure},
}
