package explain

import (
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

func TestAStoryTellsTheHiddenHelloBesideTheOneThatIsSeen(t *testing.T) {
	hello := func(name string, h *message.ECHHello) []byte {
		b, err := (&message.ClientHello{
			LegacyVersion: 0x0303, CipherSuites: []suite.ID{suite.AES128GCMSHA256}, Compression: []byte{0}, ServerName: name, Versions: []uint16{0x0304}, ECH: h,
		}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := &Recorder{}
	outer := hello("public.example", &message.ECHHello{Suite: message.ECHSuite{KDF: 1, AEAD: 1}, Enc: make([]byte, 32), Payload: make([]byte, 64)})
	r.Observe(observe.Event{Kind: observe.Message, From: observe.Client, Type: message.TypeClientHello, Bytes: outer})
	r.Observe(observe.Event{Kind: observe.Hidden, From: observe.Client, Type: message.TypeClientHello, Bytes: hello("orders.example", &message.ECHHello{Inner: true})})
	r.Observe(observe.Event{Kind: observe.Agreed, Label: "encrypted client hello", Value: "accepted"})
	var told []string
	for _, f := range r.Story().Steps[0].Facts {
		told = append(told, f.Label+": "+f.Value)
	}
	all := strings.Join(told, "\n")
	for _, want := range []string{"hidden in it: ", "orders.example", "encrypted hello: accepted", "public.example"} {
		if !strings.Contains(all, want) {
			t.Errorf("it does not tell %q:\n%s", want, all)
		}
	}
}
