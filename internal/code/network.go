package code

import "github.com/mutual-tls/mutual/internal/alert"

// M07: the network.
const (
	HandshakeTimeout Code = "M0701"
	Timeout          Code = "M0702"
	Truncated        Code = "M0703"
	Reset            Code = "M0704"
	Unreachable      Code = "M0705"
	DNS              Code = "M0706"
	NetworkFailed    Code = "M0707"
	ClosedEarly      Code = "M0708"
)

var networkEntries = []Entry{
	{HandshakeTimeout, "handshake took too long",
		"The handshake was not over when its time ran out. The peer is slow, silent, or trickles bytes to hold the connection.",
		"Check that the peer speaks TLS on that port. --handshake-timeout gives slow peers longer.",
		alert.CloseNotify},
	{Timeout, "time ran out",
		"A read or a write was not done before its deadline.",
		"Check the peer and the network between, or allow more time.",
		alert.CloseNotify},
	{Truncated, "connection cut off",
		"The peer's side of the connection ended without close_notify. What came before may be incomplete: the peer crashed, or somebody cut the connection.",
		"Look at the peer's log. Some old software never says close_notify; only who knows that the data was complete may ignore it.",
		alert.CloseNotify},
	{Reset, "connection reset",
		"The peer's machine, or something between, tore the connection down.",
		"Look at the peer's log, and for firewalls or load balancers between.",
		alert.CloseNotify},
	{Unreachable, "peer can't be reached",
		"No connection to the address came about: nothing listens there, or nothing leads there.",
		"Check address and port, and that the peer runs: `nc -vz HOST PORT`.",
		alert.CloseNotify},
	{DNS, "name does not resolve",
		"The host's name has no address.",
		"Check the spelling; `getent hosts NAME` asks the same source.",
		alert.CloseNotify},
	{NetworkFailed, "network failed",
		"The connection broke with an error of the operating system, which stands beside this code.",
		"Look at the cause: it is the operating system's, and so is the remedy.",
		alert.CloseNotify},
	{ClosedEarly, "peer closed during the handshake",
		"The peer closed the connection before the handshake was over, without saying why. Scanners and health checks do this; so do peers that refuse and send no alert.",
		"If it was a real client, look at its log.",
		alert.CloseNotify},
}

// M08: the gateways.
const (
	UpstreamUnreachable Code = "M0801"
	TooManyConnections  Code = "M0803"
	TooManyHandshakes   Code = "M0804"
	Draining            Code = "M0805"
	DrainCut            Code = "M0806"
	IdleTimeout         Code = "M0807"
	AddressInUse        Code = "M0808"
	ReloadFailed        Code = "M0809"
	UpstreamFailed      Code = "M0810"
	AcceptFailed        Code = "M0811"
	NewsNotFetched      Code = "M0812"
)

var gatewayEntries = []Entry{
	{UpstreamUnreachable, "service behind the gateway can't be reached",
		"The peer was admitted, but the plain service behind the gateway (--to) did not accept a connection within 10 s.",
		"Start the service, or correct --to. `nc -vz HOST PORT` on the gateway's machine tests it.",
		alert.InternalError},
	{TooManyConnections, "too many connections",
		"The gateway carries as many connections as it may (--max-connections). The next ones wait until some end.",
		"Raise --max-connections, if the machine and its descriptor limit allow, or find out who holds so many.",
		alert.CloseNotify},
	{TooManyHandshakes, "too many handshakes at once",
		"As many handshakes are under way as may be at once. They are shared between the addresses that connections come from: there was no place for this one, not even to wait, or another address had fewer. It was closed without an alert.",
		"If it lasts, look at who connects and never finishes; a firewall keeps them away.",
		alert.CloseNotify},
	{Draining, "gateway is stopping",
		"The gateway is draining before it stops, and takes no new connections.",
		"Connect again; if several gateways serve, another answers.",
		alert.InternalError},
	{DrainCut, "connection cut at the end of the drain",
		"The gateway was told to stop, and the connection outlived the time that is given to those that stand.",
		"Give longer with --drain, if the connections are meant to live longer.",
		alert.CloseNotify},
	{IdleTimeout, "connection was idle too long",
		"Nothing moved in either direction for as long as --idle-timeout allows.",
		"Raise --idle-timeout, or 0 for none.",
		alert.CloseNotify},
	{AddressInUse, "address is taken",
		"Another process listens on the address already.",
		"`ss -ltnp` shows which. Stop it, or give another address.",
		alert.CloseNotify},
	{ReloadFailed, "changed files were not taken",
		"Certificate files changed on disk, and what they hold now cannot be used. The gateway goes on with what it had.",
		"Correct what the message names in the files; they are read again when they change.",
		alert.CloseNotify},
	{UpstreamFailed, "service behind the gateway broke off",
		"The plain service behind the gateway ended its connection with an error, and the peer's was broken off too.",
		"Look at the log of the service.",
		alert.CloseNotify},
	{AcceptFailed, "connection can't be accepted",
		"The gateway listens, and the system does not give it the next connection, most often because the process has no file descriptors left. Those who call wait meanwhile; it tries again by itself.",
		"Raise the limit (`ulimit -n`, or LimitNOFILE= in the unit), or bound connections with --max-connections.",
		alert.CloseNotify},
	{NewsNotFetched, "news of revocations were not fetched",
		"A place that a certificate names for its authority's revocation list, or the authority's OCSP responder, did not answer, or not with anything that can be relied on. It is tried again, at growing distances of at most an hour and a half; what was fetched before stays in use until it ends.",
		"See that this machine reaches the place, and what it gives: `curl -sSf -o list.crl URL`, then `mutual inspect list.crl`. Why it failed stands beside this code. Until it is mended, lists can be given as files (--crl).",
		alert.CloseNotify},
}
