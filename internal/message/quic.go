package message

// transportParameters writes quic_transport_parameters (RFC 9001, section 8.2).
// What stands in it is QUIC's own: to TLS it is bytes. It may be empty, and is
// then not the same as none.
func (w *writer) transportParameters(p []byte) {
	if p == nil {
		return
	}
	at := w.ext(ExtQUICTransportParameters)
	w.raw(p)
	w.done(at, ExtQUICTransportParameters)
}
