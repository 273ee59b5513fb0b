// Package quic is the TLS of QUIC (RFC 9001): it drives a handshake machine with
// the bytes of CRYPTO frames, and gives away what QUIC needs: bytes to send at a
// level, secrets for a level and a direction, the peer's transport parameters.
//
// It knows no packets. A QUIC stack brings the bytes of each level in order, as
// CRYPTO streams have them, and protects packets with the secrets.
package quic
