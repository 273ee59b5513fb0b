package code

import "github.com/mutual-tls/mutual/internal/alert"

// M04: policy.
const (
	NameNotAllowed      Code = "M0401"
	CertificateRequired Code = "M0402"
	NoLongerAllowed     Code = "M0404"
	AdmissionEnded      Code = "M0405"
)

var policyEntries = []Entry{
	{NameNotAllowed, "name not allowed",
		"The peer proved who it is, and no rule lets that name in. The refusal lists the names that it proved.",
		"If it is to be let in, add its name to --allow. `mutual verify FILE --ca CA` shows the names in a certificate.",
		alert.AccessDenied},
	{CertificateRequired, "no certificate shown",
		"The client showed no certificate, and this server requires one. Programs that were given no certificate look like this, and so do browsers whose certificates come from other authorities than ours.",
		"Give the client a certificate and its key: `curl --cert FILE --key FILE`, `mutual connect --cert FILE --key FILE`.",
		alert.CertificateRequired},
	{NoLongerAllowed, "no longer allowed",
		"The peer was admitted, and what the admission rested on has changed since: a rule, an anchor, a revocation.",
		"If it is to be let in again, restore the rule or issue a new certificate.",
		alert.AccessDenied},
	{AdmissionEnded, "certificate ended during the connection",
		"The certificate that admitted the peer reached its end while the connection stood, and was not renewed in place. The connection was drained, then cut.",
		"Renew earlier, or have the client connect anew after each renewal.",
		alert.CertificateExpired},
}

// M05: the peer refused us. Which of its checks failed, its alert says roughly;
// its own log says it exactly.
const (
	RefusedCertificateRequired    Code = "M0501"
	RefusedUnknownCA              Code = "M0502"
	RefusedCertificateExpired     Code = "M0503"
	RefusedCertificateRevoked     Code = "M0504"
	RefusedBadCertificate         Code = "M0505"
	RefusedUnsupportedCertificate Code = "M0506"
	RefusedCertificateUnknown     Code = "M0507"
	RefusedAccessDenied           Code = "M0508"
	RefusedHandshakeFailure       Code = "M0509"
	RefusedProtocolVersion        Code = "M0510"
	RefusedALPN                   Code = "M0511"
	RefusedUnrecognizedName       Code = "M0512"
	RefusedDecryptError           Code = "M0513"
	RefusedProtocol               Code = "M0514"
	RefusedInsufficientSecurity   Code = "M0515"
	RefusedInternalError          Code = "M0516"
	RefusedMissingExtension       Code = "M0517"
	RefusedUserCanceled           Code = "M0518"
	RefusedOther                  Code = "M0599"
)

var refusedEntries = []Entry{
	{RefusedCertificateRequired, "peer requires a certificate",
		"The server refused us because we showed it no certificate. Either none is configured here, or none of ours fits the authorities that the server names.",
		"Give a certificate and its key: --cert FILE --key FILE. `mutual explain HOST:PORT` lists the authorities that the server accepts.",
		alert.CertificateRequired},
	{RefusedUnknownCA, "peer does not know our authority",
		"The peer refused our certificate: it does not trust the authority that issued it, or the intermediate between was not sent.",
		"Check that our certificate file holds the leaf and its intermediates, and that the peer trusts our root (--client-ca or --server-ca there).",
		alert.UnknownCA},
	{RefusedCertificateExpired, "peer says that our certificate is expired",
		"The peer refused our certificate because it has ended or not begun by the peer's clock.",
		"Look at the dates with `mutual inspect FILE`, and renew. If they are right, compare the clocks with `date -u` on both machines.",
		alert.CertificateExpired},
	{RefusedCertificateRevoked, "peer says that our certificate is revoked",
		"The peer refused our certificate because its authority has taken it back.",
		"Ask whoever runs the authority why; enrol anew if we are to go on.",
		alert.CertificateRevoked},
	{RefusedBadCertificate, "peer says that our certificate is bad",
		"The peer refused our certificate: a signature on it is wrong, it is for another name than the peer asked for, or it breaks a rule of its authority.",
		"`mutual verify FILE… --ca CA --name NAME` judges it here. The peer's log has the exact reason.",
		alert.BadCertificate},
	{RefusedUnsupportedCertificate, "peer can't use our certificate",
		"The peer refused our certificate as being of the wrong kind: its usage does not cover what we showed it for (a server certificate shown by a client), or its key is of a kind that the peer does not take.",
		"`mutual inspect FILE` shows usages and key. Issue it with clientAuth to show it as a client, serverAuth as a server.",
		alert.UnsupportedCertificate},
	{RefusedCertificateUnknown, "peer did not accept our certificate",
		"The peer refused our certificate and does not say why. Browsers do this where the user has to decide first; others where they have trouble of their own.",
		"The peer's log has the reason. `mutual verify FILE… --ca CA` judges the certificate here.",
		alert.CertificateUnknown},
	{RefusedAccessDenied, "peer does not allow us",
		"The peer knows who we are, and its rules do not let us in.",
		"Have our name added to the peer's rules (--allow there). `mutual inspect FILE` shows the names that we carry.",
		alert.AccessDenied},
	{RefusedHandshakeFailure, "peer found no common ground",
		"The peer refused the handshake with nothing but handshake_failure. Most often the two sides have no suite, group or signature scheme in common; older software also says this where it misses a certificate.",
		"`mutual explain HOST:PORT` shows what we offered. The peer's log or configuration says what it takes.",
		alert.HandshakeFailure},
	{RefusedProtocolVersion, "peer does not speak TLS 1.3",
		"The peer refused our version of TLS. It speaks an older one only.",
		"Update the peer's TLS library, or allow TLS 1.3 in its configuration.",
		alert.ProtocolVersion},
	{RefusedALPN, "peer speaks another application protocol",
		"The peer speaks none of the application protocols (ALPN) that we offer.",
		"Set --alpn to what the peer speaks.",
		alert.NoApplicationProtocol},
	{RefusedUnrecognizedName, "peer does not serve that name",
		"The server does not know the name that we asked it for.",
		"Check --server-name.",
		alert.UnrecognizedName},
	{RefusedDecryptError, "peer could not verify our proof",
		"The peer says that a signature or Finished of ours is wrong. Our key may not belong to our certificate, or something on the way changed the handshake.",
		"Look for what sits between the two machines. The peer's log has the reason.",
		alert.DecryptError},
	{RefusedProtocol, "peer says that we broke the protocol",
		"The peer refused one of our messages as wrong or out of order.",
		"Please report this with both versions: one of the two sides has a bug.",
		alert.IllegalParameter},
	{RefusedInsufficientSecurity, "peer wants something stronger",
		"The peer requires stronger algorithms than we have in common with it.",
		"Compare the peer's settings with what `mutual explain HOST:PORT` shows that we offer.",
		alert.InsufficientSecurity},
	{RefusedInternalError, "peer has trouble of its own",
		"The peer ended the handshake for a reason that has nothing to do with us.",
		"Look at the peer's log.",
		alert.InternalError},
	{RefusedMissingExtension, "peer misses an extension",
		"The peer requires an extension that we did not send. Most often it is the server name: we dialled an address, and the server wants a name.",
		"Give --server-name.",
		alert.MissingExtension},
	{RefusedUserCanceled, "peer gave up",
		"The peer ended the handshake before it was over, and says that it was not about the protocol.",
		"Look at the peer's log.",
		alert.UserCanceled},
	{RefusedOther, "peer refused us",
		"The peer ended the connection with an alert that has no page of its own; the refusal names it.",
		"Look at the peer's log.",
		alert.CloseNotify},
}
