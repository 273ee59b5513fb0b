package mtls

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/pki"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func opens(k *TicketKeys, now time.Time, ticket []byte, want string) bool {
	plain, ok := k.open(now, ticket)
	return ok && string(plain) == want
}

// A key seals for a day and opens until what it sealed is over; then it is gone.
func TestTicketKeysRotate(t *testing.T) {
	k, err := NewTicketKeys(0)
	if err != nil {
		t.Fatal(err)
	}
	var tickets [][]byte
	for day := range 20 {
		now := noon.Add(time.Duration(day) * DefaultRotation)
		ticket, ok := k.seal(now, fmt.Append(nil, "day ", day))
		if !ok {
			t.Fatal("nothing was sealed")
		}
		for i, old := range tickets {
			if bytes.Equal(old[:ticketName], ticket[:ticketName]) {
				t.Fatalf("day %d seals with the key of day %d", day, i)
			}
			if got, want := opens(k, now, old, fmt.Sprint("day ", i)), day-i < 8; got != want {
				t.Errorf("on day %d a ticket of day %d opens: %v", day, i, got)
			}
		}
		tickets = append(tickets, ticket)
		if len(k.keys) > 9 {
			t.Fatalf("%d keys are kept", len(k.keys))
		}
	}
	for _, old := range k.keys[len(k.keys):cap(k.keys)] {
		if old != (ticketKey{}) {
			t.Error("a key that is over is still there")
		}
	}
	one, _ := k.seal(noon.Add(20*DefaultRotation), []byte("same"))
	two, _ := k.seal(noon.Add(20*DefaultRotation+time.Hour), []byte("same"))
	if !bytes.Equal(one[:ticketName], two[:ticketName]) || bytes.Equal(one[ticketName:], two[ticketName:]) {
		t.Error("two tickets of one key are not two")
	}
	for _, d := range []time.Duration{-1, time.Minute, 8 * 24 * time.Hour} {
		if _, err := NewTicketKeys(d); err == nil {
			t.Errorf("a rotation of %v was taken", d)
		}
	}
}

func TestATicketOpensWholeOrNotAtAll(t *testing.T) {
	k, _ := NewTicketKeys(time.Hour)
	other, _ := NewTicketKeys(time.Hour)
	ticket, _ := k.seal(noon, []byte("a session"))
	if !opens(k, noon, ticket, "a session") {
		t.Fatal("it does not open")
	}
	if _, ok := other.open(noon, ticket); ok {
		t.Error("other keys open it")
	}
	for i := range ticket {
		bad := slices.Clone(ticket)
		bad[i] ^= 1
		if _, ok := k.open(noon, bad); ok {
			t.Errorf("it opens with byte %d changed", i)
		}
		if _, ok := k.open(noon, ticket[:i]); ok {
			t.Errorf("%d bytes of it open", i)
		}
	}
}

// A fleet rotates in three steps, and no ticket is lost.
func TestSharedTicketKeysAreSet(t *testing.T) {
	old, fresh := [32]byte{1}, [32]byte{2}
	a, err := SharedTicketKeys(old)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := SharedTicketKeys(old)
	first, _ := a.seal(noon, []byte("first"))
	if !opens(b, noon.Add(100*24*time.Hour), first, "first") {
		t.Error("a shared key ends by itself")
	}
	for _, step := range [][][32]byte{{old, fresh}, {fresh, old}} {
		if err := a.Set(step...); err != nil {
			t.Fatal(err)
		}
		if err := b.Set(step...); err != nil {
			t.Fatal(err)
		}
		if !opens(b, noon, first, "first") {
			t.Error("a ticket is lost on the way")
		}
	}
	if err := b.Set(fresh); err != nil {
		t.Fatal(err)
	}
	second, _ := a.seal(noon, []byte("second"))
	if opens(b, noon, first, "first") || !opens(b, noon, second, "second") {
		t.Error("the first key is not the one that seals")
	}
	for name, keys := range map[string][][32]byte{"none": nil, "zeros": {old, {}}, "one twice": {old, old}} {
		if err := b.Set(keys...); err == nil {
			t.Errorf("%s: taken", name)
		}
		if !opens(b, noon, second, "second") {
			t.Errorf("%s: an error changed the keys", name)
		}
	}
	var none TicketKeys
	if _, ok := none.seal(noon, []byte("x")); ok {
		t.Error("a ticket was sealed without a key")
	}
	own, _ := NewTicketKeys(0)
	if own.Set(old) == nil {
		t.Error("keys that rotate by themselves were set")
	}
}

func samples() []sealed {
	plain := sealed{suite: 0x1301, secret: bytes.Repeat([]byte{7}, 32), first: noon.Local(), end: noon.Add(time.Hour).Local(), until: noon.Add(time.Minute).Local()}
	plain.rests[0] = 9
	all := []sealed{plain, plain, plain, plain, plain}
	all[1].form, all[1].name, all[1].leaf[0], all[1].digest[31] = byDigest, "web", 1, 2
	all[2].form, all[2].kind, all[2].chain = inFull, X509, [][]byte{{1, 2, 3}, {4}}
	all[3].form, all[3].kind, all[3].chain = inFull, RawPublicKey, [][]byte{{1, 2, 3}}
	all[4].form, all[4].kind, all[4].leaf[0] = byKey, PreSharedKey, 3
	return all
}

func TestASealedSessionIsReadAsItWas(t *testing.T) {
	for _, s := range samples() {
		b, err := s.marshal()
		if err != nil {
			t.Fatal(err)
		}
		var got sealed
		if s.context = []byte{}; !got.unmarshal(b) {
			t.Fatalf("%+v is not read", s)
		}
		got.secret, got.context = bytes.Clone(got.secret), []byte{}
		for i := range got.chain {
			got.chain[i] = bytes.Clone(got.chain[i])
		}
		if !reflect.DeepEqual(got, s) {
			t.Errorf("%+v became %+v", s, got)
		}
		for i := range b {
			if (&sealed{}).unmarshal(b[:i]) {
				t.Errorf("%d bytes of %d are a session", i, len(b))
			}
		}
		if (&sealed{}).unmarshal(append(b, 0)) {
			t.Error("a byte too many is taken")
		}
		for version := range byte(8) {
			if b[0] = version; version != sealedVersion && (&sealed{}).unmarshal(b) {
				t.Errorf("a session of version %d is taken", version)
			}
		}
	}
}

// Chains are bounded by number and by bytes, and those that were used last stay.
func TestTheChainsThatWereUsedLastStay(t *testing.T) {
	ctx := context.Background()
	leaf := func(n int) (l [32]byte) { l[0], l[1] = byte(n), byte(n>>8); return l }
	has := func(m ChainStore, n int) bool { b, _ := m.Get(ctx, leaf(n)); return b != nil }
	put := func(m ChainStore, n, size int) { _ = m.Put(ctx, leaf(n), make([]byte, size), noon) }

	m := NewChainMemory(3, 0)
	for i := range 3 {
		put(m, i, 10)
	}
	has(m, 0) // used: 1 is the oldest now
	put(m, 3, 10)
	put(m, 3, 20) // in its own place
	for i, want := range []bool{true, false, true, true} {
		if has(m, i) != want {
			t.Errorf("chain %d is there: %v", i, !want)
		}
	}
	m = NewChainMemory(0, 4*(1000+chainCost))
	for i := range 9 {
		put(m, i, 1000)
		put(m, i, 1000)
	}
	for i := range 9 {
		if has(m, i) != (i >= 5) {
			t.Errorf("of 9 chains, 4 of which fit, number %d is there: %v", i, i < 5)
		}
	}
	put(m, 1, 1<<20)
	if has(m, 1) {
		t.Error("a chain beyond all bounds is kept")
	}
	if all := m.(*chainMemory); all.bytes != 0 || len(all.of) != 0 {
		t.Errorf("%d chains of %d bytes are counted", len(all.of), all.bytes)
	}
	k := &TicketKeys{}
	for i := range maxChains + 10 {
		put(&k.chains, i, 10)
	}
	if n := k.chains.order.Len(); n != maxChains {
		t.Errorf("ticket keys keep %d chains", n)
	}
}

func TestManyUseTheChainsAtOnce(t *testing.T) {
	ctx := context.Background()
	m := NewChainMemory(8, 0)
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 500 {
				leaf := [32]byte{byte((i + w) % 16)}
				if i%2 == 0 {
					_ = m.Put(ctx, leaf, leaf[:], noon)
				} else if b, _ := m.Get(ctx, leaf); b != nil && !bytes.Equal(b, leaf[:]) {
					t.Errorf("%x is under %x", b, leaf)
				}
			}
		})
	}
	wait.Wait()
}

func FuzzSealedSession(f *testing.F) {
	for _, s := range samples() {
		b, _ := s.marshal()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sealed
		if !s.unmarshal(b) {
			return
		}
		if again, err := s.marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x was read, and written as %x (%v)", b, again, err)
		}
	})
}

// FuzzTicket opens whatever a client calls a ticket, sealed under our key too.
func FuzzTicket(f *testing.F) {
	k, _ := SharedTicketKeys([32]byte{1})
	for _, s := range samples() {
		b, _ := s.marshal()
		f.Add(b, true)
		ticket, _ := k.seal(noon, b)
		f.Add(ticket, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, ours bool) {
		if ours {
			ticket, ok := k.seal(noon, b)
			if !ok || !opens(k, noon, ticket, string(b)) {
				t.Fatal("what was sealed does not open")
			}
			ticket[len(ticket)-1] ^= 1
			b = ticket
		}
		if plain, ok := k.open(noon, b); ok {
			// The seeds alone: nobody else has the key.
			if !(&sealed{}).unmarshal(plain) {
				t.Errorf("%x opens as %x", b, plain)
			}
		}
	})
}

// What a client keeps is bounded in all and for each server, and the youngest
// goes first.
func TestAClientKeepsTheYoungestSessions(t *testing.T) {
	s := newSessions(10)
	secrets := [][]byte{}
	put := func(peer string, n byte) {
		secret := []byte{n}
		secrets = append(secrets, secret)
		s.put(&session{Session: handshake.Session{Secret: secret}, peer: peer})
	}
	for i := range byte(maxPerPeer + 2) {
		put("a", 1+i)
	}
	if !bytes.Equal(secrets[0], []byte{0}) || !bytes.Equal(secrets[1], []byte{0}) || secrets[2][0] == 0 {
		t.Error("what is forgotten was not zeroed, or the wrong one was")
	}
	for i := range byte(5) {
		put("b", 100+i)
	}
	if s.order.Len() != 10 {
		t.Errorf("%d are kept", s.order.Len())
	}
	for i := range 5 {
		if got := s.take("b"); got.Secret[0] != byte(104-i) {
			t.Errorf("the youngest is %d", got.Secret[0])
		}
	}
	if s.take("b") != nil || s.take("c") != nil {
		t.Error("there is more")
	}
	for range 5 {
		s.take("a")
	}
	if s.take("a") != nil || len(s.of) != 0 || s.order.Len() != 0 {
		t.Error("something is left")
	}
}

func TestAStoreGivesEachSessionOnce(t *testing.T) {
	m := NewSessionMemory(2)
	m.(*memory).now = func() time.Time { return noon.Add(-time.Second) }
	ctx := context.Background()
	kept := [][]byte{{1}, {2}, {3}}
	for i, k := range kept {
		if err := m.Put(ctx, [32]byte{byte(i)}, k, noon); err != nil {
			t.Fatal(err)
		}
	}
	if kept[0][0] != 0 {
		t.Error("what was forgotten is still there")
	}
	for i, want := range [][]byte{nil, {2}, {3}} {
		for range 2 {
			if got, err := m.Take(ctx, [32]byte{byte(i)}); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d: %v, %v", i, got, err)
			}
			want = nil
		}
	}
	if n := m.(*memory).order.Len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// A session is kept no longer than it was to be, whether or not anybody asks for it.
func TestAStoreForgetsWhatIsOver(t *testing.T) {
	m := NewSessionMemory(10).(*memory)
	now := noon
	m.now = func() time.Time { return now }
	ctx := context.Background()
	kept := [][]byte{{1}, {2}, {3}}
	for i, k := range kept {
		if err := m.Put(ctx, [32]byte{byte(i)}, k, noon.Add(time.Duration(i+1)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	now = noon.Add(time.Hour)
	if got, err := m.Take(ctx, [32]byte{}); got != nil || err != nil || kept[0][0] != 0 {
		t.Errorf("what is over is given, or still there: %v, %v", got, err)
	}
	now = noon.Add(2 * time.Hour)
	if err := m.Put(ctx, [32]byte{9}, []byte{9}, noon.Add(9*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := m.order.Len(); n != 2 || len(m.of) != 2 || kept[1][0] != 0 {
		t.Errorf("%d are kept, and %v of one that is over", n, kept[1])
	}
	if got, _ := m.Take(ctx, [32]byte{2}); !bytes.Equal(got, []byte{3}) {
		t.Errorf("what holds is gone: %v", got)
	}
}

// Verifiers tell their generation, and it changes with what they rest on.
func TestTheGenerationOfAVerifier(t *testing.T) {
	one, two := Pin([32]byte{1}), Pin([32]byte{2})
	silent := VerifierFunc(func(context.Context, *Claim) (*Verdict, error) { return nil, nil })
	seen := map[[32]byte]string{}
	for name, v := range map[string]Verifier{
		"one": one, "two": two, "both": Pin([32]byte{1}, [32]byte{2}), "all of": AllOf(one, two), "any of": AnyOf(one, two),
		"any of, turned": AnyOf(two, one), "no anchors": Authorities(nil), "another profile": AuthoritiesWith(nil, pki.SVID), "nested": AllOf(AllOf(one), two),
	} {
		sum, ok := generationOf(v)
		if !ok || seen[sum] != "" {
			t.Errorf("%s: %v, the same as %q", name, ok, seen[sum])
		}
		seen[sum] = name
	}
	for name, v := range map[string]Verifier{"a function": silent, "all of it": AllOf(one, silent), "any of it": AnyOf(silent), "none yet": &SwapVerifier{}} {
		if _, ok := generationOf(v); ok {
			t.Errorf("%s tells a generation", name)
		}
	}
	if a, _ := generationOf(NewSwapVerifier(one)); a != must(generationOf(one)) {
		t.Error("a swap has another generation than what it holds")
	}
}

func must(sum [32]byte, _ bool) [32]byte { return sum }
