package schedule

import (
	"bytes"
	"crypto"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/schedule/rfc8448"
	"github.com/mutual-tls/mutual/internal/suite"
)

var aes128 = suite.ByID(suite.AES128GCMSHA256)

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if want == nil {
		t.Fatalf("%s: the trace has no such value", what)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %x\nwant %x", what, got, want)
	}
}

// Every single computation of the RFC, with the inputs that it prints.
func TestEachDerivationOfRFC8448(t *testing.T) {
	const h = crypto.SHA256
	count := map[string]int{}
	for _, trace := range rfc8448.Traces() {
		for _, s := range trace.Steps {
			v := s.Values
			what := trace.Name + ", " + s.Actor + ", " + s.Action
			out := make([]byte, h.Size())
			if want := v["secret"]; want != nil {
				count["extract"]++
				extract(out, h, v["salt"], v["IKM"])
				same(t, what, out, want)
			}
			if info := v["info"]; info != nil {
				count["expand"]++
				expandInfo(t, out, v["PRK"], info)
				same(t, what, out, v["expanded"])
			}
			if want := v["key expanded"]; want != nil {
				count["keys"]++
				key, iv := make([]byte, aes128.KeyLen), make([]byte, suite.IVLen)
				PutTrafficKeys(aes128, TLS, v["PRK"], key, iv)
				same(t, what+": key", key, want)
				same(t, what+": iv", iv, v["iv expanded"])
			}
		}
	}
	for what, want := range map[string]int{"extract": 15, "expand": 59, "keys": 21} {
		if count[what] != want {
			t.Errorf("%d steps of kind %s were checked, expected %d", count[what], what, want)
		}
	}
}

// expandInfo takes an HkdfLabel as the RFC prints it apart, and derives with it.
func expandInfo(t *testing.T, out, prk, info []byte) {
	t.Helper()
	n := int(info[0])<<8 | int(info[1])
	label := string(info[3 : 3+info[2]])
	context := info[4+info[2]:]
	if n != len(out) || !strings.HasPrefix(label, string(TLS)) {
		t.Fatalf("HkdfLabel %x is not what this test understands", info)
	}
	expandLabel(out, crypto.SHA256, TLS, prk, strings.TrimPrefix(label, string(TLS)), context)
}

// transcript hashes messages as RFC 8446, section 4.4.1, has it: after a
// HelloRetryRequest the first ClientHello is replaced by its hash.
func transcript(messages ...[]byte) []byte {
	retry := []byte{0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11}
	var all []byte
	for i, m := range messages {
		if i == 1 && m[0] == 2 && bytes.Equal(m[6:14], retry) {
			h := aes128.NewHash()
			h.Write(all)
			all = h.Sum([]byte{254, 0, 0, 32})
		}
		all = append(all, m...)
	}
	h := aes128.NewHash()
	h.Write(all)
	return h.Sum(nil)
}

// The same connections through the types, with transcripts made of the messages
// and the shared secrets made of the private keys.
func TestScheduleWalksThroughRFC8448(t *testing.T) {
	for _, trace := range rfc8448.Traces() {
		t.Run(trace.Name, func(t *testing.T) {
			messages := trace.Messages()
			const serverHello, finished = 2, 20
			var afterServerHello, afterServerFinished, beforeServerFinished, beforeClientFinished []byte
			for i, m := range messages {
				switch {
				case m[0] == serverHello: // the last one counts
					afterServerHello = transcript(messages[:i+1]...)
				case m[0] == finished && afterServerFinished == nil:
					beforeServerFinished = transcript(messages[:i]...)
					afterServerFinished = transcript(messages[:i+1]...)
				case m[0] == finished:
					beforeClientFinished = transcript(messages[:i]...)
				}
			}
			derived := func(label string) []byte {
				return trace.Value(`derive secret "tls13 `+label+`"`, "expanded")
			}

			var psk []byte
			if ikm := trace.Value(`extract secret "early"`, "IKM"); !bytes.Equal(ikm, make([]byte, 32)) {
				psk = ikm
			}
			early := NewEarly(aes128, TLS, psk)
			if psk != nil {
				prefix := trace.Value("calculate PSK binder", "ClientHello prefix")
				key := early.BinderKey(false)
				same(t, "binder key", key, trace.Value("calculate PSK binder", "PRK"))
				same(t, "binder", Finished(aes128, TLS, key, transcript(prefix)),
					trace.Value("calculate PSK binder", "finished"))
				same(t, "client early traffic", early.ClientTraffic(transcript(messages[0])), derived("c e traffic"))
				same(t, "early exporter", early.Exporter(transcript(messages[0])), derived("e exp master"))
			}

			handshake := early.Handshake(trace.Value(`extract secret "handshake"`, "IKM"))
			client, server := handshake.Traffic(afterServerHello)
			same(t, "client handshake traffic", client, derived("c hs traffic"))
			same(t, "server handshake traffic", server, derived("s hs traffic"))
			same(t, "server finished", Finished(aes128, TLS, server, beforeServerFinished), finishedOf(trace, "server"))
			same(t, "client finished", Finished(aes128, TLS, client, beforeClientFinished), finishedOf(trace, "client"))

			main := handshake.Main()
			client, server = main.Traffic(afterServerFinished)
			same(t, "client application traffic", client, derived("c ap traffic"))
			same(t, "server application traffic", server, derived("s ap traffic"))
			same(t, "exporter", main.Exporter(afterServerFinished), derived("exp master"))
			resumption := main.Resumption(transcript(messages...))
			same(t, "resumption", resumption, derived("res master"))
			const resume = `generate resumption secret "tls13 resumption"`
			if want := trace.Value(resume, "expanded"); want != nil {
				same(t, "resumption PSK", ResumptionPSK(aes128, TLS, resumption, trace.Value(resume, "hash")), want)
			}
			main.Destroy()
		})
	}
}

func finishedOf(trace rfc8448.Trace, actor string) []byte {
	for _, s := range trace.Steps {
		if s.Actor == actor && strings.HasPrefix(s.Action, "calculate finished") && s.Values["finished"] != nil {
			return s.Values["finished"]
		}
	}
	return nil
}
