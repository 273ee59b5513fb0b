package code

import "github.com/mutual-tls/mutual/internal/alert"

// M01: the peer's certificate, or its path, does not stand.
const (
	CertificateExpired     Code = "M0101"
	CertificateNotYetValid Code = "M0102"
	UnknownAuthority       Code = "M0103"
	MissingIntermediate    Code = "M0104"
	WrongName              Code = "M0105"
	NoNames                Code = "M0106"
	WrongUsage             Code = "M0107"
	WrongKeyUsage          Code = "M0108"
	BadSignature           Code = "M0109"
	NotAnAuthority         Code = "M0110"
	PathTooLong            Code = "M0111"
	WeakKey                Code = "M0112"
	WeakSignature          Code = "M0113"
	CriticalExtension      Code = "M0114"
	NameConstraints        Code = "M0115"
	Budget                 Code = "M0116"
	Malformed              Code = "M0117"
	AuthorityAsLeaf        Code = "M0118"
	ChainTooLong           Code = "M0119"
	NoAnchors              Code = "M0120"
	CertificateRevoked     Code = "M0121"
	NotPinned              Code = "M0122"
	BadAskedName           Code = "M0123"
	Verifier               Code = "M0124"
	UnsupportedKey         Code = "M0125"
	AlteredAnchor          Code = "M0127"
	CertificateForm        Code = "M0128"
	NoPolicy               Code = "M0129"
	BadRevocationList      Code = "M0130"
	RevocationUnknown      Code = "M0135"
	BadDelegation          Code = "M0139"
	NoStaple               Code = "M0140"
	NoTimestamps           Code = "M0141"
)

var certificateEntries = []Entry{
	{CertificateExpired, "certificate expired",
		"A certificate on the peer's path is past the end of its validity. It may be the peer's own, an intermediate's or the anchor's: the refusal names the link. A clock that runs ahead gives the same picture.",
		"Renew the certificate on the peer and reload it there. If it should still be valid, compare the clocks: `date -u` on both machines. `mutual inspect FILE` shows the dates.",
		alert.CertificateExpired},
	{CertificateNotYetValid, "certificate not yet valid",
		"A certificate on the peer's path begins in the future by this machine's clock. Most often one of the clocks is wrong, ours or that of the machine that issued the certificate.",
		"Compare the clocks with `date -u` on both machines. If both are right, wait or issue the certificate anew with an earlier start.",
		alert.CertificateExpired},
	{UnknownAuthority, "unknown authority",
		"The peer's certificate was issued by an authority that we do not trust here. No path from it ends at one of the configured anchors. This is what an intruder looks like, and a peer of another environment too.",
		"If the peer is right, add its root with --client-ca (serve) or --server-ca (connect). Compare the issuers: `mutual inspect FILE` on its certificate and on our anchors.",
		alert.UnknownCA},
	{MissingIntermediate, "intermediate certificate missing",
		"The peer sent its own certificate without the intermediate that issued it, so nothing leads from it to an anchor. Certificates are not fetched from anywhere.",
		"Put the intermediate behind the leaf in the peer's certificate file: `cat leaf.crt intermediate.crt > chain.crt`. `mutual verify leaf.crt intermediate.crt --ca ca.crt` shows that the path stands.",
		alert.UnknownCA},
	{WrongName, "certificate is for another name",
		"The certificate stands, but it was issued for other names than the one that was asked for. Either the wrong server was reached, or the certificate lacks the name. The common name does not count: only subject alternative names do.",
		"Ask for a name that the certificate has (--server-name), or issue the certificate with the name as a subject alternative name. `mutual inspect FILE` lists its names.",
		alert.BadCertificate},
	{NoNames, "certificate names nobody",
		"The certificate has no subject alternative name, so it cannot stand for any name. The common name has not been a host name since RFC 2818 was replaced; no current TLS client accepts it.",
		"Issue the certificate with subject alternative names: `mutual issue NAME --out DIR`, or openssl with `-addext subjectAltName=DNS:NAME`.",
		alert.BadCertificate},
	{WrongUsage, "certificate is for another use",
		"The extended key usage of a certificate on the path does not allow what it was shown for: a certificate for servers shown by a client, or the other way round. An authority that is limited to one usage limits all that it issues.",
		"Issue the certificate with the usage that it needs: clientAuth for clients, serverAuth for servers, or both. `mutual inspect FILE` shows its usages.",
		alert.UnsupportedCertificate},
	{WrongKeyUsage, "key may not sign",
		"The leaf's key usage lacks digitalSignature. TLS 1.3 proves the key by signing, so such a key cannot take part. Certificates made for RSA key transport look like this.",
		"Issue the certificate with the key usage digitalSignature.",
		alert.UnsupportedCertificate},
	{BadSignature, "signature on a certificate is wrong",
		"A certificate on the path was not signed by the key of the issuer that it names. It was altered or damaged, or an authority was made again with the same name and another key.",
		"If an authority was rebuilt under its old name, install its new root here and issue the leaf anew. `openssl verify -CAfile ca.crt -untrusted intermediate.crt leaf.crt` gives a second opinion.",
		alert.BadCertificate},
	{NotAnAuthority, "issuer is not an authority",
		"A certificate was used to issue another, but is not an authority's: it lacks the CA mark in its basic constraints, is not of version 3, or its key usage lacks keyCertSign. Whoever holds an ordinary certificate could issue others with it if this were let through.",
		"Issue the leaf from a real authority, or make the authority's certificate anew with CA:TRUE and keyCertSign.",
		alert.BadCertificate},
	{PathTooLong, "path is longer than an authority allows",
		"An authority on the path limits how many authorities may stand below it, and more do.",
		"Issue the leaf from a higher authority, or make the authority's certificate anew with a larger path length.",
		alert.BadCertificate},
	{WeakKey, "key is too weak or too large",
		"A key on the path is not strong enough to mean anything, or so large that checking it costs too much. RSA has to have 2048 to 8192 bits.",
		"Make a new key, best an ECDSA P-256 one (`openssl ecparam -name prime256v1 -genkey -noout`), and issue the certificate anew.",
		alert.UnsupportedCertificate},
	{WeakSignature, "signature algorithm refused",
		"A certificate on the path is signed with an algorithm that we do not accept. SHA-1 and MD5 signatures can be forged; others are not part of TLS 1.3.",
		"Issue the certificate anew with SHA-256 or better; `mutual inspect FILE` names the algorithm.",
		alert.BadCertificate},
	{CriticalExtension, "unknown critical extension",
		"A certificate on the path carries an extension that is marked critical and that we do not know. RFC 5280 has us refuse what we cannot judge.",
		"Issue the certificate without the extension, or with it not critical, if its issuer can live with that. `openssl x509 -text -noout -in FILE` shows it.",
		alert.UnsupportedCertificate},
	{NameConstraints, "name outside of what its authority may issue",
		"An authority on the path is limited by name constraints, and a certificate below it bears a name that they exclude, do not permit, or cannot be compared with. Every name of every certificate counts, not only the one that was asked for. Either the certificate was issued for a name that the authority may not give, or the constraints are narrower than they were meant to be.",
		"Issue the certificate with names that the authority may give, or from another authority. `openssl x509 -text -noout -in FILE` on the authority's certificate shows its constraints, `mutual inspect FILE` the names.",
		alert.BadCertificate},
	{Budget, "path search was given up",
		"The certificates shown can be combined in so many ways, or hold so many names, constraints or policies, that the search for a path used up its budget before one was found. Real chains need a handful of steps; a tangle like this is made on purpose, or by a badly merged bundle.",
		"Have the peer send its leaf and the intermediates of one path, and nothing else.",
		alert.BadCertificate},
	{Malformed, "certificate does not parse",
		"What the peer sent as a certificate is not one, or breaks the rules of DER or of RFC 5280 in a way that leaves its meaning open.",
		"Look at the peer's certificate file with `mutual inspect FILE` or `openssl x509 -text -noout -in FILE`, and issue the certificate anew.",
		alert.BadCertificate},
	{AuthorityAsLeaf, "authority's certificate shown as a leaf",
		"The peer showed an authority's certificate as its own. An authority's key belongs on no service: who holds it can issue any identity.",
		"Issue a leaf certificate for the service and show that. A self-signed certificate of a service can be used by making itself the anchor.",
		alert.UnsupportedCertificate},
	{ChainTooLong, "chain is too long",
		"The peer sent more certificates than are taken in one chain. Real chains have two to four.",
		"Have the peer send its leaf and the intermediates of one path, not a whole bundle.",
		alert.BadCertificate},
	{NoAnchors, "no trust anchors",
		"A certificate was to be judged, but no anchors are configured to judge it by. Nobody can be admitted then; this is a mistake on our side.",
		"Give anchors: --client-ca FILE (serve), --server-ca FILE (connect).",
		alert.CertificateUnknown},
	{CertificateRevoked, "certificate revoked",
		"The authority has taken back a certificate on the path, before its end.",
		"Find out why it was revoked. If the peer is to go on, enrol it anew: `mutual token NAME`.",
		alert.CertificateRevoked},
	{NotPinned, "certificate is not the pinned one",
		"The peer is known by its certificate or key alone, and it showed another. Its key was changed, or somebody else answers.",
		"If the peer changed its key on purpose, replace the pin; `mutual inspect FILE` prints the sha256 of a certificate.",
		alert.BadCertificate},
	{BadAskedName, "asked for a name that is none",
		"The name that the certificate was to be checked for is not a DNS name, an IP address or a SPIFFE ID, so no certificate can match it. This is a mistake on our side.",
		"Correct the name that is asked for (--server-name).",
		alert.CertificateUnknown},
	{Verifier, "verifier could not decide",
		"The check of the peer's certificate failed for a reason of our own: a store that cannot be read, an answer that did not come. The peer is not to blame; it was refused because a check that was not made is not a yes.",
		"Look at the cause beside this code.",
		alert.CertificateUnknown},
	{UnsupportedKey, "kind of key is not supported",
		"A certificate on the path has a key of a kind that is no part of TLS 1.3 here: DSA, ECDSA on an unusual curve, Ed448, or RSA-PSS with odd parameters.",
		"Issue the certificate with an ECDSA key on P-256, P-384 or P-521, an Ed25519 key, or an RSA key of 2048 bits or more.",
		alert.UnsupportedCertificate},
	{AlteredAnchor, "trust anchor was altered",
		"An anchor that is configured here is not as its authority made it: its own signature does not fit it. The file is damaged, or somebody changed it. Nothing stands on such an anchor.",
		"Install the authority's certificate anew from a source that you trust. `openssl verify -check_ss_sig -CAfile FILE FILE` gives a second opinion.",
		alert.UnknownCA},
	{CertificateForm, "certificate breaks the rules of its form",
		"A certificate on the path can be read, but is not made as the profile asks that it is judged by: RFC 5280's rules for serial numbers, key identifiers, criticality and names, those of the CA/Browser Forum for the Web, or those of SPIFFE. What was expected and what was found stands beside this code.",
		"Make the certificate anew with what the rule asks for. If it comes from software that cannot, and its authority is one of your own, judge it by the profile `basic`.",
		alert.BadCertificate},
	{NoPolicy, "no certificate policy is valid for the path",
		"An authority on the path, or whoever asks here, wants the path to be valid under a certificate policy, and the certificates on it agree on none that would do.",
		"Issue the certificates with the policy that is asked for, in the leaf and in every authority above it. `openssl x509 -text -noout -in FILE` shows policies, mappings and constraints.",
		alert.BadCertificate},
	{BadRevocationList, "revocation list cannot be relied on",
		"A revocation list was given for an authority on the path, and it does not stand: its signature is wrong, it is out of date, its issuer may not sign lists, or it has parts that are not judged. Whether a certificate is revoked cannot be told from it, and not knowing is not a no.",
		"Fetch the list anew from its authority. `openssl crl -text -noout -in FILE` shows its dates and its issuer.",
		alert.CertificateUnknown},
	{RevocationUnknown, "whether it is revoked is not known",
		"Certificates are refused here unless their authority says that they are not revoked (hard fail), and nothing that can be relied on says so of one on the path: no revocation list, no OCSP response, none yet, or none any more. What is missing, and why, stands beside this code.",
		"What was not fetched yet is being fetched now: try again in a moment. Else see that this machine reaches the places that the certificate names (`mutual inspect FILE` lists them), or give the authority's list with --crl. Where a certificate names no place and its authority makes no list, only --revocation soft lets it pass.",
		alert.CertificateUnknown},
	{BadDelegation, "delegated credential does not stand",
		"The peer proved itself by a delegated credential, a key that the key of its certificate signed for a few days. It is over, reaches further than seven days, was not signed by that key, or the certificate does not allow delegation.",
		"Have the peer make a fresh delegated credential, on a machine whose clock is right. Its certificate needs the extension DelegationUsage and the key usage digitalSignature.",
		alert.IllegalParameter},
	{NoStaple, "no answer about revocation beside the certificate",
		"The certificate says that it is always shown with an answer of its authority about its revocation (OCSP must-staple, RFC 7633), the peer was asked for one, and showed none that can be relied on: none at all, one that is over, about another certificate, or not signed by the issuer.",
		"Have the peer fetch a new OCSP response and staple it: its software may do so by itself once it reaches the responder. What was wrong with the one shown stands beside this code.",
		alert.BadCertificateStatusResponse},
	{NoTimestamps, "too few logs have promised to publish the certificate",
		"This side asks for timestamps of Certificate Transparency's logs (RFC 6962), by a list of logs that its operator gave, and the certificate does not come with enough that count: neither in it, nor beside it in the handshake or in an OCSP response. Each timestamp that came is told with what is wrong with it. The list itself may have grown old: logs come and go within months.",
		"If the certificate is from a public authority, fetch a fresh list of logs first. Otherwise have it issued anew by an authority that has its certificates logged, or have the peer show timestamps beside it. Certificates of a private authority are in no log: don't ask for timestamps there.",
		alert.BadCertificate},
}
