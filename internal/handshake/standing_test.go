package handshake

import (
	"bytes"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
)

// standing is what stays of a handshake, on both sides.
func standing(t testing.TB) (client, server *Standing) {
	p := newPair(t, mutual())
	p.run(modes[0])
	p.agreed(t)
	return p.client.Result().Standing, p.server.Result().Standing
}

func TestMessagesAfterTheHandshake(t *testing.T) {
	client, server := standing(t)
	ticket, err := (&message.NewSessionTicket{Ticket: []byte{1}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := (&message.CertificateRequest{Context: []byte{1}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	const unexpected = alert.UnexpectedMessage
	for name, m := range map[string]struct {
		to     *Standing
		msg    []byte
		effect Effect
		alert  alert.Alert
	}{
		"KeyUpdate to the client":             {client, []byte{24, 0, 0, 1, 0}, RekeyRead, 0},
		"KeyUpdate to the server":             {server, []byte{24, 0, 0, 1, 0}, RekeyRead, 0},
		"KeyUpdate that asks":                 {server, []byte{24, 0, 0, 1, 1}, RekeyRead | UpdateRequested, 0},
		"KeyUpdate 2":                         {server, []byte{24, 0, 0, 1, 2}, 0, alert.IllegalParameter},
		"empty KeyUpdate":                     {server, []byte{24, 0, 0, 0}, 0, alert.DecodeError},
		"long KeyUpdate":                      {server, []byte{24, 0, 0, 2, 0, 0}, 0, alert.DecodeError},
		"ticket to the client":                {client, ticket, Ticket, 0},
		"cut ticket":                          {client, []byte{4, 0, 0, 1, 0}, 0, alert.DecodeError},
		"ticket to the server":                {server, ticket, 0, unexpected},
		"CertificateRequest after the end":    {client, request, 0, unexpected},
		"CertificateRequest to the server":    {server, request, 0, unexpected},
		"renegotiation":                       {server, []byte{1, 0, 0, 0}, 0, unexpected},
		"HelloRequest of TLS 1.2":             {client, []byte{0, 0, 0, 0}, 0, unexpected},
		"ServerHello":                         {client, []byte{2, 0, 0, 0}, 0, unexpected},
		"second Finished":                     {server, []byte{20, 0, 0, 0}, 0, unexpected},
		"Certificate without a request":       {server, []byte{11, 0, 0, 4, 0, 0, 0, 0}, 0, unexpected},
		"CertificateVerify without a request": {server, []byte{15, 0, 0, 0}, 0, unexpected},
		"EndOfEarlyData":                      {server, []byte{5, 0, 0, 0}, 0, unexpected},
		"message_hash":                        {server, []byte{254, 0, 0, 0}, 0, unexpected},
	} {
		effect, err := m.to.Message(m.msg)
		if m.alert != 0 {
			if effect != 0 {
				t.Errorf("%s has an effect", name)
			}
			failedWith(t, err, m.alert)
		} else if err != nil || effect != m.effect {
			t.Errorf("%s: %v, %v; expected the effect %v", name, effect, err, m.effect)
		}
	}
}

func TestKeysStepForwardTogetherAndTheOldOnesAreGone(t *testing.T) {
	client, server := standing(t)
	for range 3 {
		old := client.WriteSecret()
		was := bytes.Clone(old)
		next := client.NextWrite()
		if !bytes.Equal(next, server.NextRead()) {
			t.Fatal("the two ends stepped to different secrets")
		}
		if bytes.Equal(next, was) || !bytes.Equal(next, client.WriteSecret()) {
			t.Error("the secret did not step")
		}
		if !bytes.Equal(old, make([]byte, len(old))) {
			t.Error("the former secret is still there")
		}
		if !bytes.Equal(client.ReadSecret(), server.WriteSecret()) {
			t.Error("the other direction stepped too")
		}
	}
}

func TestWhatIsDiscardedIsZero(t *testing.T) {
	client, server := standing(t)
	for _, s := range []*Standing{client, server} {
		read, write, exporter := s.ReadSecret(), s.WriteSecret(), s.exporter
		s.DiscardRead()
		s.DiscardWrite()
		s.DiscardExporter()
		for _, secret := range [][]byte{read, write, exporter} {
			if len(secret) == 0 || !bytes.Equal(secret, make([]byte, len(secret))) {
				t.Errorf("still there: %x", secret)
			}
		}
		if _, err := s.Export("EXPORTER-test", nil, 16); err == nil {
			t.Error("there is something to export after the end")
		}
		s.DiscardExporter() // once more does no harm
	}
}

func TestExportersDifferByLabelContextAndConnection(t *testing.T) {
	one, same := standing(t)
	other, _ := standing(t)
	export := func(s *Standing, label string, context []byte, n int) string {
		b, err := s.Export(label, context, n)
		if err != nil || len(b) != n {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		return string(b)
	}
	base := export(one, "EXPORTER-a", []byte("c"), 48)
	if export(same, "EXPORTER-a", []byte("c"), 48) != base {
		t.Error("the two ends export different secrets")
	}
	for name, got := range map[string]string{
		"label":      export(one, "EXPORTER-b", []byte("c"), 48),
		"context":    export(one, "EXPORTER-a", []byte("d"), 48),
		"connection": export(other, "EXPORTER-a", []byte("c"), 48),
	} {
		if got == base {
			t.Errorf("another %s exports the same", name)
		}
	}
	if _, err := one.Export("", nil, 16); err == nil {
		t.Error("an empty label is taken")
	}
}
