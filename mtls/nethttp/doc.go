// Package nethttp joins net/http to mtls: HTTP/1.1 and HTTP/2 servers and
// clients whose two ends are proven.
//
// net/http knows one TLS connection, that of crypto/tls, and treats every other
// one as plain. So a server of ours is a copy of the caller's that never listens
// by itself, and what the two ends agreed on (ALPN) is held to here: HTTP/2
// begins on a connection that chose it, and on no other. A handler asks Peer who
// is speaking; r.TLS is filled for what was written for crypto/tls.
package nethttp
