// Package record seals and opens the records of TLS 1.3 (RFC 8446, section 5).
//
// A Sealer and an Opener are one direction each, under one key at a time; their
// zero values speak in the clear. They work in place, on memory that the caller
// owns, and allocate nothing. They know no handshake: when keys change, when a
// change_cipher_spec is still tolerated, and what a clear alert may do once
// keys exist, is internal/stream's to say, which looks at Header first.
package record
