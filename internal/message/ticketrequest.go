package message

// TicketRequest is a client's ticket_request (RFC 9149, section 3): how many
// tickets it would like, after a full handshake and after a resumption. Made is
// whether there is one.
type TicketRequest struct {
	Full, Resumed uint8
	Made          bool
}

// TicketsExpected is a server's answer: how many tickets it means to give.
type TicketsExpected struct {
	Count uint8
	Told  bool
}

func (q *TicketRequest) parse(x *Extension, t Type) error {
	r := reader{b: x.Body}
	*q = TicketRequest{r.u8(), r.u8(), true}
	return whole(&r, x, t)
}

func (e *TicketsExpected) parse(x *Extension, t Type) error {
	r := reader{b: x.Body}
	*e = TicketsExpected{r.u8(), true}
	return whole(&r, x, t)
}

// whole reports an extension that was not read to its end, or beyond it.
func whole(r *reader, x *Extension, t Type) error {
	if !r.ok() {
		return decodeError(t, "%s does not parse", x.Type)
	}
	return nil
}

func (w *writer) ticketRequest(q TicketRequest) {
	if q.Made {
		at := w.ext(ExtTicketRequest)
		w.u8(q.Full)
		w.u8(q.Resumed)
		w.done(at, ExtTicketRequest)
	}
}

func (w *writer) ticketsExpected(e TicketsExpected) {
	if e.Told {
		at := w.ext(ExtTicketRequest)
		w.u8(e.Count)
		w.done(at, ExtTicketRequest)
	}
}
