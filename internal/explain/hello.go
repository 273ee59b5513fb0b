package explain

import (
	"fmt"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// The hellos: what is offered, what is agreed, and the keys that come of it.

func (r *Recorder) clientHello(s *Step) {
	m := &r.hello
	if m.Parse(s.Bytes) != nil {
		s.Words = "A ClientHello that does not parse."
		return
	}
	if r.retried {
		s.Words = "The same once more, with the half that you can use."
		s.Facts = []Fact{{Label: "key exchange", Value: sharesWords(m.KeyShares)}}
		return
	}
	s.Words = "Let us speak TLS 1.3. This is what I know, and my half of a key exchange."
	if m.ServerName != "" {
		s.fact("domain name", "%s; this much anybody on the way can read", plain(m.ServerName))
	} else {
		s.fact("domain name", "none said on the wire")
	}
	s.fact("key exchange", "%s", sharesWords(m.KeyShares))
	s.fact("encryption", "%s", or(ciphers(m.CipherSuites)))
	s.fact("signatures", "%s", listed(each(m.Schemes), 2))
	if len(m.ALPN) > 0 {
		s.fact("application", "%s", or(quoteAll(m.ALPN)))
	}
}

func (s *Step) fact(label, format string, args ...any) {
	s.Facts = append(s.Facts, Fact{Label: label, Value: fmt.Sprintf(format, args...)})
}

func (p *Passage) fact(mark Mark, label, format string, args ...any) {
	p.Facts = append(p.Facts, Fact{label, fmt.Sprintf(format, args...), mark})
}

func sharesWords(shares []message.KeyShare) string {
	groups := make([]string, len(shares))
	for i := range shares {
		groups[i] = shares[i].Group.String()
	}
	switch len(groups) {
	case 0:
		return "nothing yet: the server is to say what it wants"
	case 1:
		return "a fresh public key for " + groups[0]
	}
	return "fresh public keys for " + and(groups)
}

func ciphers(list []suite.ID) []string {
	var out []string
	for _, id := range list {
		name, _ := cipherWords(id)
		out = append(out, name)
	}
	if len(out) > 4 {
		out = append(out[:3:3], plural(len(out)-3, "other", "others"))
	}
	return out
}

func each[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

func quoteAll(list []string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = plain(v)
	}
	return out
}

func (r *Recorder) serverHello(s *Step) {
	var m message.ServerHello
	if m.Parse(s.Bytes) != nil {
		s.Words = "A ServerHello that does not parse."
		return
	}
	if m.IsRetry() {
		r.retried = true
		s.Message = "HelloRetryRequest"
		s.Words = "I can't use any half that you sent. Begin again, please."
		if m.RetryGroup != 0 {
			s.fact("key exchange", "%s is what I want", m.RetryGroup)
		}
		if len(m.Cookie) > 0 {
			s.fact("cookie", "%s that I want to see again", plural(len(m.Cookie), "byte", "bytes"))
		}
		return
	}
	cipher, hash := cipherWords(m.CipherSuite)
	s.Words = "Agreed. This is what I choose, and here is my half."
	if m.HasKeyShare {
		r.group = m.KeyShare.Group
		s.fact("key exchange", "%s (%s)", m.KeyShare.Group, groupWords(m.KeyShare.Group))
	}
	if m.HasPSK {
		r.resumed = true
		s.fact("resumption", "a key of an earlier connection takes part")
	}
	s.fact("encryption", "%s: %s, and %s to hash with", m.CipherSuite, cipher, hash)
}

// hiddenHello tells of the hello that travels encrypted in the last one.
func (r *Recorder) hiddenHello(msg []byte) {
	var m message.ClientHello
	switch err := m.Parse(msg); {
	case err != nil:
		r.last().fact("hidden in it", "a hello that does not parse")
	case m.ServerName == "":
		r.last().fact("hidden in it", "the hello that is meant, encrypted; it names nobody")
	default:
		r.last().fact("hidden in it", "the hello that is meant, encrypted: it is for %s", plain(m.ServerName))
	}
}

func (r *Recorder) encryptedExtensions(s *Step) {
	var m message.EncryptedExtensions
	if m.Parse(s.Bytes) != nil {
		s.Words = "An EncryptedExtensions that does not parse."
		return
	}
	s.Words = "The rest of what there is to settle: nothing."
	if m.ALPN != "" {
		s.Words = "The rest of what there is to settle."
		s.fact("application", "%s (ALPN)", plain(m.ALPN))
	} else if len(r.hello.ALPN) > 0 {
		s.Words = "The rest of what there is to settle."
		s.fact("application", "none chosen of those offered (ALPN)")
	}
}

const (
	keysTitle        = "the keys of the handshake"
	applicationTitle = "the keys of the application"
)

// derivations are the secrets of RFC 8446, section 7.1: the label that each is
// derived with, and what it is for.
var derivations = map[string]struct{ label, use string }{
	"client_handshake_traffic_secret":     {`"c hs traffic"`, "for its handshake messages"},
	"server_handshake_traffic_secret":     {`"s hs traffic"`, "for its handshake messages"},
	"client_application_traffic_secret_0": {`"c ap traffic"`, "for its data"},
	"server_application_traffic_secret_0": {`"s ap traffic"`, "for its data"},
}

// key tells of a secret that was derived: with the first of each kind, where all
// of that kind come from.
func (r *Recorder) key(e observe.Event) {
	cipher, hash := cipherWords(e.Suite)
	if e.Level == observe.Application {
		p := r.passage(applicationTitle)
		if len(p.Facts) == 0 {
			p.Words = "One step on, so that these keys depend on every message up to here."
			p.fact("", "main secret", "HKDF-Extract (%s) of the handshake secret", hash)
		}
		r.traffic(p, e)
		return
	}
	p := r.passage(keysTitle)
	if len(p.Facts) == 0 {
		p.Words = "Each side joins its own private half with the other's public half, and both come to the same secret. " +
			"It never travels, and whoever listened has both public halves and can't compute it."
		p.fact("", "shared secret", "the key exchange in %s", r.groupName())
		early := ""
		if r.resumed {
			early = ", and the key of an earlier connection"
		}
		p.fact("", "handshake secret", "HKDF-Extract (%s) of the shared secret%s", hash, early)
	}
	r.traffic(p, e)
	p.After = fmt.Sprintf("Each traffic secret expands into a key and a nonce for %s. From here on everything is encrypted, and nobody knows yet who is at the other end.", cipher)
	p.Unlike = "no public key encrypts the data. The two public keys agree on a secret, and what encrypts comes of that."
}

func (r *Recorder) groupName() string {
	if r.group == 0 {
		return r.story.Group
	}
	return r.group.String()
}

func (r *Recorder) traffic(p *Passage, e observe.Event) {
	d, ok := derivations[e.Label]
	if !ok {
		p.fact("", e.Label, "from %s", e.Value)
		return
	}
	p.fact("", e.From.String()+"'s traffic", "HKDF-Expand %s, %s", d.label, d.use)
}
