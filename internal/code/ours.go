package code

import "github.com/mutual-tls/mutual/internal/alert"

// M06: our own configuration, or our caller.
const (
	Misconfigured  Code = "M0601"
	Misuse         Code = "M0602"
	Internal       Code = "M0603"
	NoIdentity     Code = "M0604"
	SigningFailed  Code = "M0605"
	KeyExhausted   Code = "M0607"
	Canceled       Code = "M0608"
	Closed         Code = "M0609"
	BadFiles       Code = "M0610"
	AnswerTooLarge Code = "M0611"
)

var oursEntries = []Entry{
	{Misconfigured, "configuration is wrong",
		"The configuration contradicts itself or lacks something. Nothing was started with it.",
		"Correct the setting that the message names; it says what is expected.",
		alert.CloseNotify},
	{Misuse, "call that can't be answered",
		"The program that uses this library asked for something that is not possible at this point.",
		"Correct the call that the message names; it says what has to come first.",
		alert.CloseNotify},
	{Internal, "error of our own",
		"Something failed that has nothing to do with the peer: the random source, memory, a bug.",
		"Please report it with the log line.",
		alert.InternalError},
	{NoIdentity, "no certificate to show",
		"A handshake needs our certificate, and the identity has none at this moment.",
		"Check that certificate and key are configured and readable (--cert FILE --key FILE).",
		alert.InternalError},
	{SigningFailed, "our key could not sign",
		"The private key did not produce a signature: a key service that does not answer, or a key that does not fit its certificate.",
		"Look at the cause beside this code.",
		alert.InternalError},
	{KeyExhausted, "key reached its limit",
		"So much was sent under one key that its cipher's safety limit is reached, and the key could not be renewed.",
		"Connect anew.",
		alert.InternalError},
	{Canceled, "given up by the caller",
		"The caller's context ended before the handshake did.",
		"Nothing, if that was meant. Otherwise allow more time.",
		alert.CloseNotify},
	{Closed, "connection was closed here",
		"This side closed the connection.",
		"Nothing, if that was meant.",
		alert.CloseNotify},
	{BadFiles, "certificate or key files can't be used",
		"The files of certificate, key or authorities can't be read, or do not make an identity and its trust: they don't parse, are swapped, or don't belong together.",
		"The message says what is wrong with which file. `mutual inspect FILE` shows what a file holds.",
		alert.CloseNotify},
	{AnswerTooLarge, "our answer grew too large",
		"What the peer asked for made one of our messages larger than the protocol carries.",
		"Shorten our chain or our list of authorities.",
		alert.InternalError},
}
