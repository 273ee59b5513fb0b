package stream

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/internal/suite"
)

// What tlsfuzzer expects of a server of TLS 1.3, as tests of ours: its scripts are
// other people's, and CI has none. A hello is edited and sent; the server answers
// with a ServerHello, or with the alert that the script wants.

// list16 is a list of 16-bit numbers with its length before it.
func list16(numbers ...uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(2*len(numbers)))
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// upTo are the numbers below n that begin at from.
func upTo(from, n int) (list []uint16) {
	for i := range n {
		list = append(list, uint16(from+i))
	}
	return list
}

// extended gives an extension in a hello another body, or adds it, or, with nil, takes
// it out.
func extended(m *message.ClientHello, t message.ExtensionType, body []byte) {
	i := slices.IndexFunc(m.Extensions, func(x message.Extension) bool { return x.Type == t })
	switch {
	case i < 0:
		m.Extensions = append(m.Extensions, message.Extension{Type: t, Body: body})
	case body == nil:
		m.Extensions = slices.Delete(m.Extensions, i, i+1)
	default:
		m.Extensions[i].Body = body
	}
}

// helloing is a server that was sent an edited hello: its parts are edited as they
// are on the wire.
func helloing(t *testing.T, s setting, edit func(*message.ClientHello), wire func([]byte) []byte) *tested {
	t.Helper()
	h := newHandClient(t, s, func(h *byHand) {
		h.each = func(msg []byte) bool {
			var m message.ClientHello
			check(h.t, m.Parse(msg))
			all := slices.Clone(m.Extensions)
			plain := message.ClientHello{
				LegacyVersion: m.LegacyVersion, Random: m.Random, SessionID: m.SessionID, CipherSuites: slices.Clone(m.CipherSuites),
				Compression: m.Compression, Extensions: all,
			}
			if edit != nil {
				edit(&plain)
			}
			b, err := plain.Append(nil)
			check(h.t, err)
			if wire != nil {
				b = wire(b)
			}
			for ; len(b) > 0; b = b[min(len(b), record.MaxPlaintext):] {
				h.put(h.clear(record.Handshake, b[:min(len(b), record.MaxPlaintext)]...))
			}
			return true
		}
	})
	d := newServer(t, s)
	d.feed(h.out)
	return d
}

func TestWhatAHelloIsAnsweredWith(t *testing.T) {
	const (
		decode  = alert.DecodeError
		illegal = alert.IllegalParameter
		missing = alert.MissingExtension
	)
	share := func(g suite.GroupID, data []byte) []byte {
		one := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(g)), uint16(len(data)))
		return append(one, data...)
	}
	shares := func(list ...[]byte) []byte {
		all := bytes.Join(list, nil)
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...)
	}
	own := func(m *message.ClientHello) []byte { // the client's share
		i := slices.IndexFunc(m.Extensions, func(x message.Extension) bool { return x.Type == message.ExtKeyShare })
		return bytes.Clone(m.Extensions[i].Body[2:])
	}
	set := func(t message.ExtensionType, body []byte) func(*message.ClientHello) {
		return func(m *message.ClientHello) { extended(m, t, body) }
	}
	ours := uint16(suite.X25519)
	for name, c := range map[string]struct {
		edit  func(*message.ClientHello)
		wire  func([]byte) []byte
		alert alert.Alert // 0: a ServerHello, or a HelloRetryRequest
	}{
		// test-tls13-keyshare-omitted, -unrecognised-groups, -no-unknown-groups, -crfg-curves
		"no key_share, and groups":                {set(message.ExtKeyShare, nil), nil, missing},
		"no supported_groups, and a share":        {set(message.ExtSupportedGroups, nil), nil, missing},
		"an empty list of shares":                 {set(message.ExtKeyShare, shares()), nil, 0},
		"a share of nothing":                      {set(message.ExtKeyShare, shares(share(suite.X25519, nil))), nil, illegal},
		"a share in a group that was not offered": {set(message.ExtKeyShare, shares(share(suite.P384, make([]byte, 97)))), nil, illegal},
		"two shares in a group":                   {func(m *message.ClientHello) { extended(m, message.ExtKeyShare, shares(own(m), own(m))) }, nil, illegal},
		"an all-zero share":                       {set(message.ExtKeyShare, shares(share(suite.X25519, make([]byte, 32)))), nil, illegal},
		"a share that is too short":               {set(message.ExtKeyShare, shares(share(suite.X25519, bytes.Repeat([]byte{9}, 31)))), nil, illegal},
		"a share that is too long":                {set(message.ExtKeyShare, shares(share(suite.X25519, bytes.Repeat([]byte{9}, 33)))), nil, illegal},
		"only groups that nobody knows": {func(m *message.ClientHello) {
			extended(m, message.ExtSupportedGroups, list16(upTo(0x4400, 300)...))
			extended(m, message.ExtKeyShare, shares())
		}, nil, alert.HandshakeFailure},
		"259 groups that nobody knows, and ours":  {set(message.ExtSupportedGroups, list16(append(upTo(0x4400, 259), ours)...)), nil, 0},
		"256 shares in groups that nobody knows":  {manyShares(256), nil, 0},
		"a list of shares with a part of a share": {set(message.ExtKeyShare, []byte{0, 3, 0, 29, 0}), nil, decode},
		"an odd list of groups":                   {set(message.ExtSupportedGroups, []byte{0, 3, 0, 29, 0}), nil, decode},
		"an empty list of groups":                 {set(message.ExtSupportedGroups, []byte{0, 0}), nil, decode},
		"a list of groups with more behind it":    {set(message.ExtSupportedGroups, []byte{0, 2, 0, 29, 0}), nil, decode},
		"key shares in another order than groups": {reversedShares, nil, illegal},
		// test-tls13-obsolete-curves
		"only groups that TLS 1.3 did away with": {func(m *message.ClientHello) {
			extended(m, message.ExtSupportedGroups, list16(0x0016, 0x001c, 0xff02))
			extended(m, message.ExtKeyShare, shares())
		}, nil, illegal},
		"a share in a group that TLS 1.3 did away with, beside ours": {func(m *message.ClientHello) {
			mine := own(m)
			extended(m, message.ExtSupportedGroups, list16(ours, 0x001a))
			extended(m, message.ExtKeyShare, shares(mine, share(0x001a, make([]byte, 65))))
		}, nil, illegal},
		"groups that TLS 1.3 did away with, and ours": {set(message.ExtSupportedGroups, list16(0x0001, 0x0015, ours, 0x001b, 0xff01)), nil, 0},
		"the ec_point_formats of older versions":      {set(message.ExtECPointFormats, []byte{1, 0}), nil, 0},
		"renegotiation_info and extended_main_secret": {func(m *message.ClientHello) {
			extended(m, message.ExtRenegotiationInfo, []byte{0})
			extended(m, message.ExtExtendedMainSecret, []byte{})
		}, nil, 0},

		// test-tls13-version-negotiation, -legacy-version, -non-support
		"no supported_versions":         {set(message.ExtSupportedVersions, nil), nil, alert.ProtocolVersion},
		"an odd list of versions":       {set(message.ExtSupportedVersions, []byte{3, 3, 4, 3}), nil, decode},
		"an empty list of versions":     {set(message.ExtSupportedVersions, []byte{0}), nil, decode},
		"a list of versions cut off":    {set(message.ExtSupportedVersions, []byte{4, 3, 4}), nil, decode},
		"only drafts":                   {set(message.ExtSupportedVersions, []byte{4, 0x7f, 28, 0x7f, 23}), nil, alert.ProtocolVersion},
		"drafts and later versions too": {set(message.ExtSupportedVersions, []byte{8, 0x7f, 28, 3, 9, 3, 4, 3, 3}), nil, 0},
		"the legacy_version of SSL 3":   {func(m *message.ClientHello) { m.LegacyVersion = 0x0300 }, nil, alert.ProtocolVersion},
		"the legacy_version of TLS 1.3": {func(m *message.ClientHello) { m.LegacyVersion = 0x0304 }, nil, 0},
		"a session identifier of 33":    {nil, func(b []byte) []byte { return spliced(b, 33) }, decode},
		"no session identifier":         {func(m *message.ClientHello) { m.SessionID = nil }, nil, 0},
		"deflate beside no compression": {func(m *message.ClientHello) { m.Compression = []byte{1, 0} }, nil, illegal},
		"no compression at all":         {func(m *message.ClientHello) { m.Compression = nil }, nil, decode},

		// test-tls13-invalid-ciphers, -nociphers
		"only suites that nobody knows": {func(m *message.ClientHello) { m.CipherSuites = []suite.ID{0x13ff, 0x00ff, 0xc02f} }, nil, alert.HandshakeFailure},
		"no suites":                     {func(m *message.ClientHello) { m.CipherSuites = nil }, nil, decode},
		"many suites, and ours":         {func(m *message.ClientHello) { m.CipherSuites = append(manySuites(2000), m.CipherSuites...) }, nil, 0},

		// test-tls13-signature-algorithms
		"no signature_algorithms":                         {set(message.ExtSignatureAlgorithms, nil), nil, missing},
		"an empty list of schemes":                        {set(message.ExtSignatureAlgorithms, []byte{0, 0}), nil, decode},
		"an empty extension":                              {set(message.ExtSignatureAlgorithms, []byte{}), nil, decode},
		"an odd list of schemes":                          {set(message.ExtSignatureAlgorithms, []byte{0, 3, 8, 7, 8}), nil, decode},
		"a list of schemes with more behind it":           {set(message.ExtSignatureAlgorithms, []byte{0, 2, 8, 7, 0}), nil, decode},
		"only schemes of older versions":                  {set(message.ExtSignatureAlgorithms, list16(0x0201, 0x0401, 0x0203)), nil, alert.HandshakeFailure},
		"32,715 schemes that nobody knows":                {set(message.ExtSignatureAlgorithms, list16(upTo(0x8000, 32_600)...)), nil, alert.HandshakeFailure},
		"a hello of 65,609 bytes, schemes that are legal": {legal, nil, 0},

		// test-tls13-psk_dhe_ke, -psk_ke, -session-resumption
		"an empty list of PSK modes":   {set(message.ExtPSKKeyExchangeModes, []byte{0}), nil, decode},
		"PSK modes that nobody knows":  {set(message.ExtPSKKeyExchangeModes, []byte{3, 7, 9, 1}), nil, 0},
		"a session without modes":      {func(m *message.ClientHello) { extended(m, message.ExtPSKKeyExchangeModes, nil); offered(m) }, nil, missing},
		"a session that is not last":   {func(m *message.ClientHello) { offered(m); extended(m, 0x5555, []byte{}) }, nil, illegal},
		"a session that nobody knows":  {offered, nil, 0},
		"a session without its binder": {set(message.ExtPreSharedKey, []byte{0, 7, 0, 1, 9, 0, 0, 0, 0, 0, 0}), nil, decode},

		// test-tls13-large-number-of-extensions, and the one with them shuffled
		"4,096 extensions that nobody knows": {manyExtensions(4096, nil), nil, 0},
		"1,024 with a body":                  {manyExtensions(1024, make([]byte, 32)), nil, 0},
		"4,096 with a draft's among them":    {manyFrom(49_176, 4096, nil), nil, 0},
		"1,024 with a draft's among them":    {manyFrom(51_224, 1024, bytes.Repeat([]byte{0xb5}, 32)), nil, 0},
		"one of many twice": {func(m *message.ClientHello) {
			manyExtensions(600, nil)(m)
			m.Extensions = append(m.Extensions, m.Extensions[500])
		}, nil, decode},
		"any order":                    {func(m *message.ClientHello) { slices.Reverse(m.Extensions) }, nil, 0},
		"an extension twice":           {func(m *message.ClientHello) { m.Extensions = append(m.Extensions, m.Extensions[0]) }, nil, decode},
		"an extension of the server's": {set(message.ExtOIDFilters, []byte{0, 0}), nil, illegal},
		"more behind the extensions":   {nil, func(b []byte) []byte { return longer(append(b, 0)) }, decode},
		"extensions that are cut off":  {nil, func(b []byte) []byte { return longer(b[:len(b)-1]) }, decode},
	} {
		t.Run(name, func(t *testing.T) {
			set := usual()
			set.server.Resume = true
			d := helloing(t, set, c.edit, c.wire)
			if c.alert != 0 {
				failedWith(t, d, c.alert)
				return
			}
			if d.err != nil || len(d.out) < 6 || d.out[0] != byte(record.Handshake) || d.out[5] != byte(message.TypeServerHello) {
				t.Errorf("the server answers with %x: %v", d.out[:min(len(d.out), 6)], d.err)
			}
		})
	}
}

// legal has a list of schemes as long as makes it a hello of 65,609 bytes, the last
// of them the one that the server can sign with.
func legal(m *message.ClientHello) {
	extended(m, message.ExtSignatureAlgorithms, list16(uint16(suite.Ed25519)))
	b, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	// Padding cannot make it longer than its block of extensions may be, so the
	// suites take the rest.
	rest := 65_609 - len(b)
	list := upTo(0x8000, 32_000)
	extended(m, message.ExtSignatureAlgorithms, list16(append(list, uint16(suite.Ed25519))...))
	m.CipherSuites = append(manySuites((rest-64_000)/2), m.CipherSuites...)
}

func manySuites(n int) (list []suite.ID) {
	for _, v := range upTo(0x8000, n) {
		list = append(list, suite.ID(v))
	}
	return list
}

func manyExtensions(n int, body []byte) func(*message.ClientHello) { return manyFrom(0x4000, n, body) }

func manyFrom(first, n int, body []byte) func(*message.ClientHello) {
	return func(m *message.ClientHello) {
		for _, v := range upTo(first, n) {
			m.Extensions = append(m.Extensions, message.Extension{Type: message.ExtensionType(v), Body: body})
		}
	}
}

// manyShares offers n groups that nobody knows, with shares, before the own one.
func manyShares(n int) func(*message.ClientHello) {
	return func(m *message.ClientHello) {
		i := slices.IndexFunc(m.Extensions, func(x message.Extension) bool { return x.Type == message.ExtKeyShare })
		var all []byte
		for _, g := range upTo(0x4400, n) {
			all = append(binary.BigEndian.AppendUint16(all, g), 0, 32)
			all = append(all, make([]byte, 32)...)
		}
		all = append(all, m.Extensions[i].Body[2:]...)
		extended(m, message.ExtKeyShare, append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...))
		extended(m, message.ExtSupportedGroups, list16(append(upTo(0x4400, n), uint16(suite.X25519))...))
	}
}

// reversedShares has two shares, in the other order than the groups.
func reversedShares(m *message.ClientHello) {
	i := slices.IndexFunc(m.Extensions, func(x message.Extension) bool { return x.Type == message.ExtKeyShare })
	own := m.Extensions[i].Body[2:]
	all := append(bytes.Clone(own), 0x44, 0, 0, 1, 9)
	extended(m, message.ExtKeyShare, append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...))
	extended(m, message.ExtSupportedGroups, list16(0x4400, uint16(suite.X25519)))
}

// offered offers a session that nobody knows.
func offered(m *message.ClientHello) {
	id := []byte("unknown")
	body := binary.BigEndian.AppendUint16(nil, uint16(2+len(id)+4))
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(id))), id...)
	body = append(body, 0, 0, 0, 0, 0, 33, 32)
	extended(m, message.ExtPreSharedKey, append(body, make([]byte, 32)...))
}

// longer gives b the length in its header that it has.
func longer(b []byte) []byte {
	n := len(b) - message.HeaderLen
	b[1], b[2], b[3] = byte(n>>16), byte(n>>8), byte(n)
	return b
}

// spliced gives a hello a session identifier of n bytes.
func spliced(b []byte, n int) []byte {
	const at = message.HeaderLen + 2 + 32
	out := append(bytes.Clone(b[:at]), byte(n))
	out = append(out, make([]byte, n)...)
	return longer(append(out, b[at+1+int(b[at]):]...))
}

// It is 65,609 bytes long, and is understood as a whole.
func TestTheLongestLegalHelloIsAsLongAsItSays(t *testing.T) {
	helloing(t, usual(), legal, func(b []byte) []byte {
		if len(b) != 65_609 {
			t.Errorf("it has %d bytes", len(b))
		}
		return b
	})
}

// What the scripts send in records behind the hello. Each is a peer of TestOddRecords.
func expectations() []odd {
	const (
		fin  = message.TypeFinished
		hs   = record.Handshake
		data = record.ApplicationData
	)
	finished := func(edit func([]byte) []byte) func(*byHand) {
		return func(h *byHand) {
			each := h.each
			h.each = func(msg []byte) bool {
				h.each = each
				h.put(h.sealed(hs, longer(edit(bytes.Clone(msg)))...))
				return true
			}
		}
	}
	split := func(between func(*byHand)) func(*byHand) {
		return func(h *byHand) {
			each := h.each
			h.each = func(msg []byte) bool {
				h.each = each
				h.put(h.sealed(hs, msg[:9]...))
				between(h)
				h.put(h.sealed(hs, msg[9:]...))
				return true
			}
		}
	}
	versioned := func(v uint16) func(*byHand) {
		return raw(byte(record.ChangeCipherSpec), byte(v>>8), byte(v), 0, 1, 1)
	}
	list := []odd{
		// test-tls13-finished
		{name: "an empty Finished", before: fin, put: finished(func(b []byte) []byte { return b[:4] }), alert: alert.DecodeError},
		{name: "a Finished that is one byte short", before: fin, put: finished(func(b []byte) []byte { return b[:len(b)-1] }), alert: alert.DecodeError},
		{name: "a Finished with a byte more", before: fin, put: finished(func(b []byte) []byte { return append(b, 0) }), alert: alert.DecodeError},
		{name: "a Finished that fills its record", before: fin, put: finished(func(b []byte) []byte { return append(b, make([]byte, 16332)...) }), alert: alert.DecodeError},
		{name: "a Finished with a wrong bit", before: fin, put: finished(func(b []byte) []byte { b[20] ^= 1; return b }), alert: alert.DecryptError},
		// test-tls13-zero-length-data, -connection-abort, application data between
		{name: "data inside a split Finished", before: fin, put: split(times(1, data, 'x')), alert: alert.UnexpectedMessage},
		{name: "empty data inside a split Finished", before: fin, put: split(times(1, data)), alert: alert.UnexpectedMessage},
		{name: "a split Finished", before: fin, put: split(func(*byHand) {})},
		// test-tls13-keyupdate
		{name: "a request_update of 2", put: times(1, hs, 24, 0, 0, 1, 2), alert: alert.IllegalParameter},
		{name: "a request_update of 255", put: times(1, hs, 24, 0, 0, 1, 255), alert: alert.IllegalParameter},
		{name: "a KeyUpdate of two bytes", put: times(1, hs, 24, 0, 0, 2, 0, 0), alert: alert.DecodeError},
		{name: "an empty KeyUpdate", put: times(1, hs, 24, 0, 0, 0), alert: alert.DecodeError},
		{name: "a KeyUpdate before Finished", before: fin, put: times(1, hs, 24, 0, 0, 1, 0), alert: alert.UnexpectedMessage},
		{name: "32 KeyUpdates that ask", put: rekeys(maxRow, true)},
		{name: "a KeyUpdate cut in two by data", put: both(times(1, hs, 24, 0, 0), times(1, data, 'x')), alert: alert.UnexpectedMessage},
	}
	// test-tls13-ccs: the version of the record is nobody's business.
	for _, v := range []uint16{0x0300, 0x0301, 0x0303, 0x0304, 0x03ff} {
		list = append(list,
			odd{name: "change_cipher_spec before Finished in a record of another version", before: fin, put: versioned(v)},
			odd{name: "change_cipher_spec after Finished in a record of another version", put: versioned(v), alert: alert.UnexpectedMessage, code: code.UnexpectedMessage})
	}
	for i := range list {
		list[i].to = "server"
	}
	return list
}

func TestWhatRecordsBehindAHelloAreAnsweredWith(t *testing.T) {
	for _, o := range expectations() {
		t.Run(o.name, o.try)
	}
}

// forge seals an inner plaintext that no Sealer makes. The sealer is behind
// afterwards, so it is the last that comes.
func forge(h *byHand, inner ...byte) {
	id, key, iv, seq := h.sealer.Offload()
	aead, err := suite.ByID(id).AEAD(key)
	check(h.t, err)
	nonce := bytes.Clone(iv)
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(seq >> (8 * i))
	}
	header := []byte{byte(record.ApplicationData), 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+aead.Overhead()))
	h.put(aead.Seal(header, nonce, inner, header))
}

// test-tls13-zero-length-data, -zero-content-type, -record-padding,
// -record-layer-limits, -empty-alert: what is inside a protected record.
func TestWhatIsInsideARecordIsAnsweredWith(t *testing.T) {
	zeros := make([]byte, 100)
	full := append(bytes.Repeat([]byte("x"), record.MaxPlaintext), byte(record.ApplicationData))
	for name, c := range map[string]struct {
		inner []byte
		alert alert.Alert
	}{
		"an empty handshake record":              {[]byte{byte(record.Handshake)}, alert.UnexpectedMessage},
		"an empty handshake record with padding": {append([]byte{byte(record.Handshake)}, zeros...), alert.UnexpectedMessage},
		"an empty alert":                         {[]byte{byte(record.Alert)}, alert.UnexpectedMessage},
		"nothing at all":                         {nil, alert.UnexpectedMessage},
		"nothing but padding":                    {zeros, alert.UnexpectedMessage},
		"a record of an unknown type":            {[]byte{'x', 24}, alert.UnexpectedMessage},
		"change_cipher_spec under keys":          {[]byte{1, byte(record.ChangeCipherSpec)}, alert.UnexpectedMessage},
		"as much as there may be":                {full, 0},
		"one byte more":                          {append([]byte{'x'}, full...), alert.RecordOverflow},
		"one byte of padding more":               {append(bytes.Clone(full), 0), alert.RecordOverflow},
		"data with padding":                      {append([]byte{'x', byte(record.ApplicationData)}, zeros...), 0},
		"empty data with padding":                {append([]byte{byte(record.ApplicationData)}, zeros...), 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newServer(t, mutual())
			h := newHandClient(t, mutual(), func(h *byHand) { h.mild = true })
			meet(d, h)
			forge(h, c.inner...)
			meet(d, h)
			if c.alert != 0 {
				failedWith(t, d, c.alert)
			} else if d.err != nil {
				t.Error(d.err)
			}
		})
	}
}

// test-tls13-0rtt-garbage: early data of a session that nobody knows is skipped, as
// much of it as a ticket of 16 KiB would have allowed in any cut.
func TestEarlyDataOfAnUnknownSessionIsSkipped(t *testing.T) {
	for name, set := range map[string]func() setting{"at once": usual, "behind a HelloRetryRequest": retrying} {
		for _, sizes := range [][]int{{record.MaxPlaintext}, {record.MaxPlaintext / 2, record.MaxPlaintext / 2}, slices.Repeat([]int{64}, 256)} {
			s := set()
			s.server.Resume = true
			h := newHandClient(t, s, func(h *byHand) {
				offering(h, 0)
				each := h.each
				h.each = func(msg []byte) bool {
					each(msg)
					for _, n := range sizes {
						h.put(h.clear(record.ApplicationData, make([]byte, n+1+suite.TagLen)...))
					}
					return true
				}
			})
			d := newServer(t, s)
			d.feed(h.out)
			if d.err != nil {
				t.Errorf("%s, %d records: %v", name, len(sizes), d.err)
			}
		}
	}
}
