package code

import "github.com/mutual-tls/mutual/internal/alert"

// Encrypted Client Hello (RFC 9849) has its codes among those of each kind.
const (
	ECHInner        Code = "M0231"
	ECHContradicted Code = "M0232"
	ECHUnreadable   Code = "M0233"
	ECHRejected     Code = "M0331"
	RefusedECH      Code = "M0531"
	ECHConfigs      Code = "M0631"
)

var echProtocolEntries = []Entry{
	{ECHInner, "encrypted hello breaks its own rules",
		"The hello that a client sent encrypted was opened, and is not one that may be sent so: it offers a version before TLS 1.3, does not say that it was encrypted, or names parts of the outer hello that are not there.",
		"Note the client's software and version.",
		alert.IllegalParameter},
	{ECHContradicted, "encrypted hello taken and not taken",
		"The two halves of a handshake contradict each other about Encrypted Client Hello: a server said that it had read the hello and then that it had not, or a client encrypted its second hello in another way than its first.",
		"Note the peer's software and version. Servers behind one name have to hold the same ECH keys.",
		alert.IllegalParameter},
	{ECHUnreadable, "second encrypted hello can't be read",
		"The client's first encrypted hello could be decrypted and its second could not: somebody changed it on the way, or the client encrypts wrongly.",
		"Note the client's software and version.",
		alert.DecryptError},
}

var echGroundEntries = []Entry{
	{ECHRejected, "encrypted hello was rejected",
		"The server could not read our Encrypted Client Hello: it holds other ECH keys than the config that we have, or none any more. It proved that it is the config's public name. The name that we were after was not shown, and we did not go on.",
		"Try once more with the configs that the server gave (the refusal carries them), or get the current ones, from DNS or from who runs the server.",
		alert.ECHRequired},
}

var echRefusedEntries = []Entry{
	{RefusedECH, "peer's encrypted hello was not taken",
		"The client ended the connection because we could not read its Encrypted Client Hello. It was told our current ECH configs and will most likely come again with them.",
		"If it goes on, publish the current ECH configs where clients look, and keep old keys for as long as caches keep old configs.",
		alert.ECHRequired},
}

var echOursEntries = []Entry{
	{ECHConfigs, "ECH configs can't be used",
		"The ECH config list that we were given for a server does not parse, or holds no config that we can use. Without one the server's name would travel in the clear, so no connection was made.",
		"Get the current list for the server. ClientECH.Grease allows connections where no config can be used, with the name in the clear.",
		alert.InternalError},
}
