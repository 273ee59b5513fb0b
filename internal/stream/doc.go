// Package stream is TLS 1.3 over a byte stream: it composes a handshake machine
// with the record layer (RFC 8446, section 5). It does no I/O: bytes from the
// wire go into Receive, bytes for the wire come out of Output and Seal.
//
// Before Done one goroutine drives it. After Done it has two halves that two
// goroutines may use at once: Receive on one side; Seal, Rekey and Alert on the
// other.
package stream
