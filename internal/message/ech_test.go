package message

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/suite"
)

func sampleConfig() *ECHConfig {
	return &ECHConfig{
		Version: ECHVersion, ID: 7, KEM: 0x20, PublicKey: fill(32, 1), Suites: []ECHSuite{{1, 1}, {1, 3}},
		MaxNameLen: 40, PublicName: "public.example", Extensions: []ECHConfigExtension{{Type: 0x1234, Body: fill(3, 2)}},
	}
}

var unknownConfig = []byte{0xba, 0xdd, 0, 2, 5, 4}

// sampleConfigList has a config of ours and one of a version that nobody knows.
func sampleConfigList() []byte {
	own, err := sampleConfig().Append(nil)
	if err != nil {
		panic(err)
	}
	list, err := AppendECHConfigList(nil, own, unknownConfig)
	if err != nil {
		panic(err)
	}
	return list
}

func TestAConfigListSaysWhatWasPutIntoIt(t *testing.T) {
	list, err := ParseECHConfigList(sampleConfigList())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	raw := list[0].Raw
	list[0].Raw = nil
	if !equal(&list[0], sampleConfig()) {
		t.Errorf("parsed %+v", list[0])
	}
	if again, err := list[0].Append(nil); err != nil || !bytes.Equal(again, raw) {
		t.Errorf("made anew it is %x, %v", again, err)
	}
	if list[0].Mandatory() {
		t.Error("an extension that may be skipped passes for one that may not")
	}
	if list[1].Version != 0xbadd || !bytes.Equal(list[1].Raw, unknownConfig) || list[1].PublicName != "" {
		t.Errorf("of an unknown version came %+v", list[1])
	}
	one, err := ParseECHConfig(raw)
	if err != nil || one.ID != 7 || !bytes.Equal(one.Raw, raw) {
		t.Errorf("alone it is %+v, %v", one, err)
	}
	if _, err := ParseECHConfig(append(bytes.Clone(raw), 0)); err == nil {
		t.Error("a byte behind a config was taken")
	}
}

func TestAMandatoryExtensionIsSeen(t *testing.T) {
	c := sampleConfig()
	c.Extensions = append(c.Extensions, ECHConfigExtension{Type: 0x8001})
	if !c.Mandatory() {
		t.Error("it was not seen")
	}
}

// config wraps contents as a list of one.
func config(contents ...[]byte) []byte {
	return v16(join([]byte{0xfe, 0x0d}, v16(join(contents...)...))...)
}

func TestBadConfigListsAreRefused(t *testing.T) {
	key, suites, name := join([]byte{7, 0, 0x20}, v16(fill(32, 1)...)), v16(0, 1, 0, 1), append([]byte{0}, v8([]byte("a.example")...)...)
	if _, err := ParseECHConfigList(config(key, suites, name, v16())); err != nil {
		t.Fatal(err)
	}
	good := sampleConfigList()
	for what, list := range map[string][]byte{
		"nothing":                      nil,
		"an empty list":                v16(),
		"a list that is cut":           good[:len(good)-1],
		"a byte behind the list":       append(bytes.Clone(good), 0),
		"a config that is cut":         v16(0xfe, 0x0d, 0, 9, 1),
		"half a header":                v16(0xfe, 0x0d, 0),
		"an empty config":              config(),
		"an empty public key":          config([]byte{7, 0, 0x20}, v16(), suites, name, v16()),
		"no suite":                     config(key, v16(), name, v16()),
		"half a suite":                 config(key, v16(0, 1), name, v16()),
		"257 suites":                   config(key, v16(fill(257*4, 1)...), name, v16()),
		"no public name":               config(key, suites, []byte{0}, v8(), v16()),
		"no extensions block":          config(key, suites, name),
		"bytes behind the extensions":  config(key, suites, name, v16(), []byte{0}),
		"an extension that is cut":     config(key, suites, name, v16(0, 1, 0, 2, 9)),
		"an extension twice":           config(key, suites, name, v16(0, 1, 0, 0, 0, 1, 0, 0)),
		"65 configs":                   v16(times(65, unknownConfig)...),
		"65 extensions in one config":  config(key, suites, name, v16(manyExtensions(65)...)),
		"one that is good and one not": v16(join(unknownConfig, []byte{0xfe, 0x0d, 0, 0})...),
	} {
		if c, err := ParseECHConfigList(list); err == nil {
			t.Errorf("%s was taken: %+v", what, c)
		}
	}
	if _, err := ParseECHConfigList(v16(times(64, unknownConfig)...)); err != nil {
		t.Error(err)
	}
	if _, err := ParseECHConfigList(config(key, suites, name, v16(manyExtensions(64)...))); err != nil {
		t.Error(err)
	}
}

func manyExtensions(n int) (b []byte) {
	for i := range n {
		b = append(b, 0, byte(i), 0, 0)
	}
	return b
}

// parsed is a hello that parses.
func parsed(t testing.TB, msg []byte) *ClientHello {
	t.Helper()
	m := &ClientHello{}
	if err := m.Parse(msg); err != nil {
		t.Fatal(err)
	}
	return m
}

func repeatedExtensions(x ExtensionType) bool {
	return x == ExtSupportedGroups || x == ExtSignatureAlgorithms || x == ExtKeyShare
}

// innerAndOuter are two hellos of one client. The outer one has other extensions
// between those that the two share.
func innerAndOuter(t testing.TB) (inner, outer *ClientHello) {
	h := ClientHello{
		LegacyVersion: 0x0303, Random: random(1), SessionID: fill(32, 9), CipherSuites: suite.Suites(), Compression: []byte{0},
		ServerName: "secret.example", Versions: []uint16{0x0304}, Groups: suite.Groups(), Schemes: suite.Schemes(), HasKeyShares: true,
		KeyShares: []KeyShare{{suite.X25519, fill(32, 3)}}, ECH: &ECHHello{Inner: true},
	}
	b, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	inner = parsed(t, b)
	h.ServerName, h.Random = "public.example", random(2)
	h.ECH = &ECHHello{Suite: ECHSuite{1, 1}, ConfigID: 3, Enc: fill(32, 4), Payload: fill(300, 5)}
	if b, err = h.Append(nil); err != nil {
		t.Fatal(err)
	}
	outer = parsed(t, b)
	list := slices.Clone(outer.Extensions)
	list = slices.Insert(list, 3, Extension{Type: 0x1234, Body: []byte{1}})
	if b, err = outer.AppendBare(nil, list); err != nil {
		t.Fatal(err)
	}
	return inner, parsed(t, b)
}

func TestWhatIsEncodedOfAnInnerHelloIsThatHelloAgain(t *testing.T) {
	inner, outer := innerAndOuter(t)
	for _, repeated := range []func(ExtensionType) bool{repeatedExtensions, func(ExtensionType) bool { return false }} {
		for _, padding := range []int{0, 1, 77} {
			b, err := inner.EncodeInner(repeated, func(int) int { return padding })
			if err != nil {
				t.Fatal(err)
			}
			again, err := outer.DecodeInner(b)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, inner.Raw) {
				t.Errorf("it became\n%x\nof\n%x", again, inner.Raw)
			}
		}
	}
	plain, _ := inner.EncodeInner(func(ExtensionType) bool { return false }, func(int) int { return 0 })
	short, _ := inner.EncodeInner(repeatedExtensions, func(int) int { return 0 })
	if len(short) >= len(plain)-40 {
		t.Errorf("%d bytes with names, %d without", len(short), len(plain))
	}
}

// encoded is an inner hello with these extensions.
func encoded(list ...Extension) []byte {
	b, err := (&ClientHello{LegacyVersion: 0x0303, CipherSuites: []suite.ID{suite.AES128GCMSHA256}, Compression: []byte{0}}).AppendBare(nil, list)
	if err != nil {
		panic(err)
	}
	return b[HeaderLen:]
}

func TestAnInnerHelloThatLiesAboutTheOuterOneIsRefused(t *testing.T) {
	const decode, illegal = alert.DecodeError, alert.IllegalParameter
	_, outer := innerAndOuter(t)
	names := func(list ...ExtensionType) Extension {
		var b []byte
		for _, n := range list {
			b = append(b, byte(n>>8), byte(n))
		}
		return Extension{ExtECHOuterExtensions, v8(b...)}
	}
	session := encoded()
	session = slices.Insert(session, 2+32+1, 9)
	session[2+32] = 1
	for _, l := range []struct {
		name  string
		inner []byte
		alert alert.Alert
		says  string
	}{
		{"nothing", nil, decode, "cut off"},
		{"half a hello", encoded()[:30], decode, "cut off"},
		{"a session identifier", session, illegal, "session identifier"},
		{"padding that is not zero", append(encoded(), 0, 0, 1, 0), illegal, "padding"},
		{"names that are missing", encoded(names(ExtCookie)), illegal, "names cookie"},
		{"a name twice", encoded(names(ExtKeyShare, ExtKeyShare)), illegal, "names key_share"},
		{"the wrong order", encoded(names(ExtKeyShare, ExtSupportedGroups)), illegal, "names supported_groups"},
		{"encrypted_client_hello", encoded(names(ExtEncryptedClientHello)), illegal, "never repeated"},
		{"itself", encoded(names(ExtECHOuterExtensions)), illegal, "names ech_outer_extensions"},
		{"two lists", encoded(names(ExtSupportedGroups), names(ExtKeyShare)), illegal, "twice"},
		{"an empty list", encoded(names()), decode, "does not parse"},
		{"half a name", encoded(Extension{ExtECHOuterExtensions, v8(0)}), decode, "does not parse"},
		{"a byte behind the list", encoded(Extension{ExtECHOuterExtensions, append(v8(0, 10), 0)}), decode, "does not parse"},
		{"extensions that do not add up", join(encoded()[:2+32+1+4+2], v16(0, 1, 0, 9)), decode, "do not add up"},
	} {
		_, err := outer.DecodeInner(l.inner)
		if e := refusal(t, err); e.Alert != l.alert || !strings.Contains(e.Reason, l.says) {
			t.Errorf("%s: %v %v, expected %v and %q", l.name, e.Alert, e, l.alert, l.says)
		}
	}
	if _, err := outer.DecodeInner(encoded(names(ExtSupportedGroups, ExtKeyShare, 0x1234))); err == nil {
		t.Error("0x1234 stands before key_share in the outer hello, and was taken behind it")
	}
	if _, err := outer.DecodeInner(encoded(names(ExtSupportedVersions, 0x1234, ExtKeyShare))); err != nil {
		t.Error(err)
	}
}

// The inner hello has ech_outer_extensions nowhere.
func TestTheListOfOuterExtensionsIsNoExtensionOfAHello(t *testing.T) {
	err := new(ClientHello).Parse(hello(Extension{ExtECHOuterExtensions, v8(0, 10)}))
	if e := refusal(t, err); e.Alert != alert.IllegalParameter {
		t.Error(e)
	}
}

func TestTheAADIsTheHelloWithZerosForItsPayload(t *testing.T) {
	_, outer := innerAndOuter(t)
	want := bytes.Replace(outer.Raw[HeaderLen:], fill(300, 5), make([]byte, 300), 1)
	if got := outer.OuterAAD(); !bytes.Equal(got, want) {
		t.Errorf("%x\nexpected\n%x", got, want)
	}
	if !bytes.Equal(outer.ECH.Payload, fill(300, 5)) {
		t.Error("the hello itself was changed")
	}
}

func TestAServersConfirmationIsTakenOut(t *testing.T) {
	for _, m := range []*ServerHello{
		{LegacyVersion: 0x0303, Random: [32]byte(fill(32, 0xee)), SessionID: fill(7, 1), CipherSuite: 1, Version: 0x0304, HasPSK: true},
		{LegacyVersion: 0x0303, Random: RetryRandom, SessionID: fill(7, 1), CipherSuite: 1, Version: 0x0304, RetryGroup: suite.P256,
			ECHConfirmation: fill(8, 0xee), Extensions: []Extension{{0x1234, []byte{1}}}},
	} {
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Parse(b); err != nil {
			t.Fatal(err)
		}
		got := m.WithoutConfirmation()
		i := bytes.LastIndex(b, fill(8, 0xee))
		want := slices.Concat(b[:i], make([]byte, 8), b[i+8:])
		if !bytes.Equal(got, want) {
			t.Errorf("%x\nexpected\n%x", got, want)
		}
	}
}

func FuzzECHConfigList(f *testing.F) {
	f.Add(sampleConfigList())
	f.Add(v16(unknownConfig...))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseECHConfigList(b)
		if err != nil {
			return
		}
		var raw [][]byte
		for i := range list {
			raw = append(raw, list[i].Raw)
			if list[i].Version != ECHVersion {
				continue
			}
			if made, err := list[i].Append(nil); err != nil || !bytes.Equal(made, list[i].Raw) {
				t.Fatalf("%x became %x, %v", list[i].Raw, made, err)
			}
		}
		if made, err := AppendECHConfigList(nil, raw...); err != nil || !bytes.Equal(made, b) {
			t.Fatalf("%x became %x, %v", b, made, err)
		}
	})
}

func FuzzDecodeInner(f *testing.F) {
	inner, outer := innerAndOuter(f)
	for _, repeated := range []func(ExtensionType) bool{repeatedExtensions, func(ExtensionType) bool { return false }} {
		b, err := inner.EncodeInner(repeated, func(int) int { return 5 })
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		made, err := outer.DecodeInner(b)
		if err != nil {
			refusal(t, err)
			return
		}
		if len(made) > len(b)+len(outer.Raw) {
			t.Fatalf("%d bytes became %d", len(b), len(made))
		}
		checkAgain(t, made)
	})
}
