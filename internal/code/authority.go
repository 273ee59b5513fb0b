package code

import "github.com/mutual-tls/mutual/internal/alert"

// M09: the authority, and whoever joins it, renews with it or follows it.
const (
	JoinLineDamaged     Code = "M0901"
	NotTheAuthority     Code = "M0902"
	TokenUnknown        Code = "M0903"
	TokenExpired        Code = "M0904"
	TokenOtherKey       Code = "M0905"
	RequestMalformed    Code = "M0906"
	RequestTooLarge     Code = "M0907"
	KeyNotAccepted      Code = "M0908"
	NameNotGranted      Code = "M0909"
	NameReserved        Code = "M0910"
	OutsideProfile      Code = "M0911"
	LintRefused         Code = "M0912"
	LineageFrozen       Code = "M0913"
	LineageRevoked      Code = "M0914"
	RenewalTooLate      Code = "M0916"
	NotTheHolder        Code = "M0917"
	ServiceUnknown      Code = "M0918"
	NothingToRevoke     Code = "M0919"
	StatementRefused    Code = "M0920"
	AuthorityDown       Code = "M0921"
	AuthorityBusy       Code = "M0922"
	StoreFailed         Code = "M0923"
	FolderRefused       Code = "M0924"
	ClockWentBack       Code = "M0925"
	RevocationsRefused  Code = "M0926"
	RevocationsStale    Code = "M0927"
	UnknownPath         Code = "M0928"
	RenewalFailed       Code = "M0929"
	IdentityUnreadable  Code = "M0931"
	NotAllowedToEnrol   Code = "M0932"
	AnswerOfAuthority   Code = "M0933"
	AuthorityUnfinished Code = "M0934"
	FolderUnwritten     Code = "M0935"
)

var authorityEntries = []Entry{
	{JoinLineDamaged, "join line is damaged",
		"The join line does not read as one: a piece is missing, most often its end, or a character was changed on the way. Its check digits show that.",
		"Copy the whole line again, from `mutual+join:` to its last character, or make a new one: `mutual token NAME --service SERVICE`.",
		alert.CloseNotify},
	{NotTheAuthority, "whoever answers is not the authority",
		"The join line names the authority by the hash of its root. Whoever answered at its address has another root, or is not the authority but one of its services. The token was not sent.",
		"If the authority was made anew, get a new line from it: `mutual token NAME`. If not, somebody stands in its place, or the address leads elsewhere.",
		alert.BadCertificate},
	{TokenUnknown, "token is not known",
		"The authority never gave out the token in the line, or forgot it after it ended.",
		"Make a new line at the authority: `mutual token NAME --service SERVICE`.",
		alert.CloseNotify},
	{TokenExpired, "token has expired",
		"A token is good for a limited time, an hour where nothing else was said, and this one's is over.",
		"Make a new line at the authority: `mutual token NAME --service SERVICE`, with --lifetime if an hour is too short.",
		alert.CloseNotify},
	{TokenOtherKey, "token was used with another key",
		"A token is good for one key. It was used already, by somebody with another key: the line was used on two machines, or somebody read it and was faster.",
		"If you did not use the line twice, revoke what was issued: `mutual list`, `mutual revoke NAME`. Then make a new line.",
		alert.CloseNotify},
	{RequestMalformed, "request does not parse",
		"What was sent to the authority is not a request that it knows: bad JSON, or a certificate request (PKCS #10) that does not parse or is not signed by its own key.",
		"Use the same version of mutual on both sides. The message says what was wrong.",
		alert.CloseNotify},
	{RequestTooLarge, "request is too large",
		"A request to the authority holds at most 64 KiB.",
		"Use the same version of mutual on both sides.",
		alert.CloseNotify},
	{KeyNotAccepted, "key is not accepted",
		"The key in the request is of a kind or a size that the authority does not certify, or belongs to an authority or to another identity.",
		"Make a new key: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits.",
		alert.CloseNotify},
	{NameNotGranted, "name was not granted",
		"The request asks for a name that its token or lineage does not grant. Names come from the grant, never from a request.",
		"Make a token that grants the name: `mutual token NAME --names DNS,IP`.",
		alert.CloseNotify},
	{NameReserved, "name is reserved",
		"The names authority, console and gateway belong to the product itself, and no one can enrol as one of them.",
		"Choose another name.",
		alert.CloseNotify},
	{OutsideProfile, "request is outside the profile",
		"The authority's profile does not allow what was asked: a lifetime out of its bounds, or an end after its issuer's.",
		"Ask for what the rule allows: the message names it, and its bounds.",
		alert.CloseNotify},
	{LintRefused, "certificate was not signed",
		"The certificate that was about to be signed breaks a rule that every certificate has to keep. Nothing was signed.",
		"Ask for a certificate that keeps the rule, which the message names. If the request was an ordinary one, please report this.",
		alert.CloseNotify},
	{LineageFrozen, "identity is frozen",
		"A certificate that was renewed before was renewed again, with another key. Two hold this identity, and one of them is not its owner. Nothing is issued to either.",
		"Find out where the copy is. Then `mutual revoke NAME`, and enrol the rightful machine anew: `mutual token NAME`.",
		alert.CloseNotify},
	{LineageRevoked, "identity was revoked",
		"The authority has taken this identity back; it cannot renew.",
		"If it is to come back, enrol it anew: `mutual token NAME`.",
		alert.CertificateRevoked},
	{RenewalTooLate, "too late to renew",
		"An expired certificate can be renewed for 30 days after its end, and those are over.",
		"Enrol anew: `mutual token NAME`.",
		alert.CertificateExpired},
	{NotTheHolder, "not yours to ask",
		"The request is about another identity than the one that was proven.",
		"Ask as that identity, or at the authority's own machine.",
		alert.CloseNotify},
	{ServiceUnknown, "service is not known",
		"No service of that name has told the authority where it is.",
		"Start it (`mutual serve NAME --to ADDR`), or correct the name: `mutual list` shows who is enrolled.",
		alert.CloseNotify},
	{NothingToRevoke, "nothing to revoke",
		"No certificate of this authority has that name, serial number or lineage, or all that have are revoked already.",
		"`mutual list --all` shows every certificate.",
		alert.CloseNotify},
	{StatementRefused, "statement of anchors refused",
		"A statement that changes whom to trust was not taken: it is not signed by the root in force and by every new one, its number is not higher, it is past its end, or it is of another trust domain.",
		"A true statement comes from the authority's root alone: `mutual ca announce`. If nobody made one, somebody tried to replace the root.",
		alert.CloseNotify},
	{AuthorityDown, "authority can't be reached",
		"None of the authority's addresses answers. Certificates in use stay good until they end.",
		"Start it: `mutual ca`, or the `mutual serve` that hosts it. `mutual ca status` on its machine tells how it is.",
		alert.CloseNotify},
	{AuthorityBusy, "authority is busy",
		"The authority has more requests under way than it takes at once.",
		"Nothing: it is asked again by itself.",
		alert.CloseNotify},
	{StoreFailed, "authority's database failed",
		"The authority could not record what it was about to do, and so did not do it.",
		"Look at the cause beside this code: a full disk, a damaged file, missing rights.",
		alert.CloseNotify},
	{FolderRefused, "folder can't be trusted",
		"A folder or file with private keys belongs to somebody else, or others may read or write it.",
		"Run the command that the message gives, once you know who changed the folder.",
		alert.CloseNotify},
	{ClockWentBack, "clock went back",
		"This machine's clock stands before the time of the last certificate that was signed. Certificates signed now would carry wrong times.",
		"Set the clock, and compare: `date -u`.",
		alert.CloseNotify},
	{RevocationsRefused, "list of revocations refused",
		"The list of revoked certificates that came is not signed by an issuer of ours, or is older than the one that is in use. The one in use stays.",
		"If the authority's database was restored from an old copy, say so by restarting the authority; else somebody plays an old list.",
		alert.CloseNotify},
	{RevocationsStale, "nothing is heard of the authority",
		"The authority has not been heard of for 15 minutes, so that what it revoked since is not known here. Connections go on and begin; none is resumed.",
		"See that the authority runs and can be reached: `mutual ca status`.",
		alert.CloseNotify},
	{UnknownPath, "no such request",
		"The authority does not know the path or the method that was asked for.",
		"Use the same version of mutual on both sides.",
		alert.CloseNotify},
	{RenewalFailed, "certificate was not renewed",
		"It is time to renew the certificate, and that did not succeed. It is tried again, and the certificate in use stays good until its end.",
		"Look at the cause beside this code.",
		alert.CloseNotify},
	{IdentityUnreadable, "identity on disk can't be used",
		"The folder of an identity is there, and what is in it does not make an identity.",
		"Restore it from a copy, or move the folder away and join anew with a new line.",
		alert.CloseNotify},
	{NotAllowedToEnrol, "who asks may not",
		"This request needs another proof than the one that was given: a token, a certificate that is still valid, or the authority's own machine.",
		"Give the proof that the message asks for. Who has none enrols: `mutual token NAME`.",
		alert.CloseNotify},
	{AnswerOfAuthority, "authority's answer can't be used",
		"The authority answered, and its answer does not hold what it should: a certificate for another key or name, or a chain that does not lead to its root.",
		"Please report it with the log line. Nothing of the answer was used.",
		alert.CloseNotify},
	{AuthorityUnfinished, "authority is half made",
		"The folder holds an authority whose making was interrupted, before it issued anything.",
		"Remove the folder and start again; nothing can depend on it.",
		alert.CloseNotify},
	{FolderUnwritten, "folder can't be written",
		"A file of an identity or of the authority could not be written, most often because the disk is full. What was there before is there still, and whole.",
		"Make room, or give back the rights; then the same command goes on where it stopped.",
		alert.CloseNotify},
}
