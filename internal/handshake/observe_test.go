package handshake

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
)

// watcher keeps what it sees.
type watcher struct{ events []observe.Event }

func (w *watcher) Observe(e observe.Event) {
	e.Bytes = bytes.Clone(e.Bytes)
	w.events = append(w.events, e)
}

// messages are those that were seen, with who sent them.
func (w *watcher) messages() []string {
	var all []string
	for _, e := range w.events {
		if e.Kind == observe.Message {
			all = append(all, e.From.String()+" "+e.Type.String())
		}
	}
	return all
}

// Both ends' observers see every message, in order and to the last byte, those
// after the handshake included; and no secret in anything.
func TestAnObserverSeesEveryMessageAndNoSecret(t *testing.T) {
	for _, shape := range shapes() {
		if strings.HasPrefix(shape.name, "scheme ") {
			continue
		}
		s := shape.setting()
		client, server := &watcher{}, &watcher{}
		s.client.Observer, s.server.Observer = client, server
		p := newPair(t, s)
		var sent []letter
		p.tamper = func(_ *end, _ int, l letter) []letter {
			sent = append(sent, l)
			return []letter{l}
		}
		p.run(modes[0])
		p.agreed(t)
		update := []byte{byte(message.TypeKeyUpdate), 0, 0, 1, 0}
		for _, e := range []*end{p.client, p.server} {
			if _, err := e.Result().Standing.Message(update); err != nil {
				t.Fatal(err)
			}
		}
		c, v := client.messages(), server.messages()
		if len(c) != len(sent)+1 || len(v) != len(sent)+1 || c[len(c)-1] != "server KeyUpdate" || v[len(v)-1] != "client KeyUpdate" {
			t.Errorf("%s: %d messages were sent; the client's observer saw %q, the server's %q", shape.name, len(sent), c, v)
		}
		for _, l := range sent {
			for side, w := range map[string]*watcher{"client": client, "server": server} {
				if !slices.ContainsFunc(w.events, func(e observe.Event) bool { return bytes.Equal(e.Bytes, l.msg) && e.Level == l.level }) {
					t.Errorf("%s: the %s's observer did not see %v", shape.name, side, l)
				}
			}
		}
		secrets := slices.Concat(p.client.logged, p.server.logged)
		if len(secrets) < 10 {
			t.Fatalf("%s: %d secrets", shape.name, len(secrets))
		}
		for _, e := range slices.Concat(client.events, server.events) {
			all := fmt.Sprintf("%+v %s", e, e.Bytes)
			for _, secret := range secrets {
				if strings.Contains(all, string(secret)) || strings.Contains(all, hex.EncodeToString(secret)) || strings.Contains(all, fmt.Sprintf("%d", secret)[1:40]) {
					t.Fatalf("%s: a secret is in what the observer sees: %v", shape.name, e.Kind)
				}
			}
		}
	}
}
