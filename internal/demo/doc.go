// Package demo is the whole story on one machine: two plain services, the two
// commands that put mutual TLS between them, certificates that rotate under load,
// callers and a join line that are refused, with the reason at both ends, who is
// enrolled, a handshake, and the lines to try it with curl and openssl. Each part
// is the real program in a process of its own, each machine a folder. It tells
// nothing that it did not check.
package demo
