package suite

// GroupID is a NamedGroup's code point.
type GroupID uint16

// The groups that have a name here. Those of Groups are supported; the others
// are named to be printed.
const (
	P256               GroupID = 0x0017
	P384               GroupID = 0x0018
	P521               GroupID = 0x0019
	X25519             GroupID = 0x001d
	X448               GroupID = 0x001e
	FFDHE2048          GroupID = 0x0100
	FFDHE3072          GroupID = 0x0101
	FFDHE4096          GroupID = 0x0102
	FFDHE6144          GroupID = 0x0103
	FFDHE8192          GroupID = 0x0104
	MLKEM512           GroupID = 0x0200
	MLKEM768           GroupID = 0x0201
	MLKEM1024          GroupID = 0x0202
	SecP256r1MLKEM768  GroupID = 0x11eb
	X25519MLKEM768     GroupID = 0x11ec
	SecP384r1MLKEM1024 GroupID = 0x11ed
)

var (
	everyGroup = []GroupID{X25519MLKEM768, X25519, P256, P384, SecP256r1MLKEM768, SecP384r1MLKEM1024, P521, MLKEM1024}
	groups     = everyGroup[:6:6]
)

// Groups returns the supported groups, the preferred first: the hybrid that
// everybody has before the classic ones, and those before the hybrids over the
// NIST curves, which only a policy would ask for. Not to be changed by the caller.
func Groups() []GroupID { return groups }

// EveryGroup returns what can be asked for: Groups, and behind them those that
// only a policy wants, P-521 and ML-KEM-1024 alone (CNSA 2.0 asks for that; it has
// no second lock). Not to be changed by the caller.
func EveryGroup() []GroupID { return everyGroup }

// IsPostQuantum reports whether there is ML-KEM in the group.
func (g GroupID) IsPostQuantum() bool { return g.parts().kem.keyLen() > 0 }

// ClientShareLen returns the length in bytes of the key_exchange field that a
// client sends for this group, 0 for a group that is not supported.
func (g GroupID) ClientShareLen() int {
	p := g.parts()
	return p.curve.pointLen() + p.kem.keyLen()
}

// ServerShareLen returns the length in bytes of the key_exchange field that a
// server sends for this group, 0 for a group that is not supported.
func (g GroupID) ServerShareLen() int {
	p := g.parts()
	return p.curve.pointLen() + p.kem.ciphertextLen()
}

func (g GroupID) secretLen() int {
	p := g.parts()
	return p.curve.secretLen() + p.kem.secretLen()
}

// parts says what a group is made of: a curve, a KEM or, in a hybrid, both. Which
// of the two comes first, in the shares and in the secret alike, differs from
// group to group (draft-ietf-tls-ecdhe-mlkem, section 4).
type parts struct {
	curve    curve
	kem      kem
	kemFirst bool
}

func (g GroupID) parts() parts {
	switch g {
	case X25519:
		return parts{curve: curve25519}
	case P256:
		return parts{curve: curveP256}
	case P384:
		return parts{curve: curveP384}
	case P521:
		return parts{curve: curveP521}
	case MLKEM1024:
		return parts{kem: kem1024}
	case X25519MLKEM768:
		return parts{curve: curve25519, kem: kem768, kemFirst: true}
	case SecP256r1MLKEM768:
		return parts{curve: curveP256, kem: kem768}
	case SecP384r1MLKEM1024:
		return parts{curve: curveP384, kem: kem1024}
	}
	return parts{}
}

// split cuts a share or a secret of the group in its two parts. The lengths of
// the KEM's part is given, since it differs from use to use.
func (p parts) split(b []byte, kemLen int) (curve, kem []byte) {
	if p.kemFirst {
		return b[kemLen:], b[:kemLen]
	}
	n := len(b) - kemLen
	return b[:n:n], b[n:]
}

// String gives the name of the IANA registry.
func (g GroupID) String() string {
	switch g {
	case P256:
		return "secp256r1"
	case P384:
		return "secp384r1"
	case P521:
		return "secp521r1"
	case X25519:
		return "x25519"
	case X448:
		return "x448"
	case FFDHE2048:
		return "ffdhe2048"
	case FFDHE3072:
		return "ffdhe3072"
	case FFDHE4096:
		return "ffdhe4096"
	case FFDHE6144:
		return "ffdhe6144"
	case FFDHE8192:
		return "ffdhe8192"
	case MLKEM512:
		return "MLKEM512"
	case MLKEM768:
		return "MLKEM768"
	case MLKEM1024:
		return "MLKEM1024"
	case SecP256r1MLKEM768:
		return "SecP256r1MLKEM768"
	case X25519MLKEM768:
		return "X25519MLKEM768"
	case SecP384r1MLKEM1024:
		return "SecP384r1MLKEM1024"
	case 0x001f:
		return "brainpoolP256r1tls13"
	case 0x0020:
		return "brainpoolP384r1tls13"
	case 0x0021:
		return "brainpoolP512r1tls13"
	case 0x6399:
		return "X25519Kyber768Draft00"
	}
	return unnamed(uint16(g))
}

// IsObsolete reports whether the group is one of those that TLS 1.3 did away with
// and that must not be offered in it (RFC 8446, appendix B.3.1.4): curves of the
// older versions, and explicit ones.
func (g GroupID) IsObsolete() bool {
	return 0x0001 <= g && g <= 0x0016 || 0x001a <= g && g <= 0x001c || 0xff01 <= g && g <= 0xff02
}
