package message

// What may come after the handshake (RFC 8446, section 4.6), and EndOfEarlyData.

// NewSessionTicket gives a client a ticket to resume with (section 4.6.1).
type NewSessionTicket struct {
	Raw           []byte
	Lifetime      uint32 // seconds
	AgeAdd        uint32
	Nonce, Ticket []byte
	MaxEarlyData  uint32
	// Extensions are all, in order, when parsed; when made, they are added as
	// they are.
	Extensions []Extension
}

// Parse reads msg, a whole message.
func (m *NewSessionTicket) Parse(msg []byte) error {
	const t = TypeNewSessionTicket
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = NewSessionTicket{Raw: msg, Extensions: m.Extensions[:0], Lifetime: r.u32(), AgeAdd: r.u32(), Nonce: r.vec8(), Ticket: r.vec16()}
	block := r.vec16()
	if !r.ok() || len(m.Ticket) == 0 {
		return decodeError(t, "it does not parse")
	}
	if m.Extensions, err = extensions(m.Extensions, block, t, inNST); err != nil {
		return err
	}
	for i := range m.Extensions {
		if x := &m.Extensions[i]; x.Type == ExtEarlyData {
			r := reader{b: x.Body}
			if m.MaxEarlyData = r.u32(); !r.ok() {
				return decodeError(t, "%s does not parse", x.Type)
			}
		}
	}
	return nil
}

// Append appends the whole message to b.
func (m *NewSessionTicket) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeNewSessionTicket)
	w.u32(m.Lifetime)
	w.u32(m.AgeAdd)
	w.vec8(m.Nonce, "the nonce")
	w.vec16(m.Ticket, "the ticket")
	all := w.open(2)
	if m.MaxEarlyData != 0 {
		at := w.ext(ExtEarlyData)
		w.u32(m.MaxEarlyData)
		w.done(at, ExtEarlyData)
	}
	w.verbatim(m.Extensions)
	w.close(all, 2, "the extensions block")
	return w.end(b, start, TypeNewSessionTicket)
}

// KeyUpdate says that its sender goes over to new keys (section 4.6.3).
type KeyUpdate struct {
	Raw           []byte
	RequestUpdate bool
}

// Parse reads msg, a whole message.
func (m *KeyUpdate) Parse(msg []byte) error {
	const t = TypeKeyUpdate
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	v := r.u8()
	if !r.ok() {
		return decodeError(t, "it does not parse")
	}
	if v > 1 {
		return illegal(t, "request_update is %d; it must be 0 or 1", v)
	}
	*m = KeyUpdate{Raw: msg, RequestUpdate: v == 1}
	return nil
}

// Append appends the whole message to b.
func (m *KeyUpdate) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeKeyUpdate)
	if m.RequestUpdate {
		w.u8(1)
	} else {
		w.u8(0)
	}
	return w.end(b, start, TypeKeyUpdate)
}

// EndOfEarlyData ends a client's early data (section 4.5).
type EndOfEarlyData struct{ Raw []byte }

// Parse reads msg, a whole message.
func (m *EndOfEarlyData) Parse(msg []byte) error {
	r, err := body(TypeEndOfEarlyData, msg)
	if err != nil {
		return err
	}
	if !r.ok() {
		return decodeError(TypeEndOfEarlyData, "it has a body")
	}
	m.Raw = msg
	return nil
}

// Append appends the whole message to b.
func (m *EndOfEarlyData) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeEndOfEarlyData)
	return w.end(b, start, TypeEndOfEarlyData)
}
