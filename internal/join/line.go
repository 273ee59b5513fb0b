package join

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"

	"github.com/mutual-tls/mutual/identity"
)

// Line is what a join line says. As text it is
//
//	mutual+join:1/NAME/SERVICE/HOST:PORT,…/ROOT/TOKEN/CHECK
//
// NAME is who its reader becomes, SERVICE what it reaches ("-" for nothing), ROOT
// the SHA-256 of the root's certificate, TOKEN the secret, both in unpadded
// base64url, and CHECK six characters of the hash of all before, so that a paste
// that was cut off says so instead of failing later. It is one word to a shell.
//
// It holds a secret: it belongs on a terminal or in a file of mode 0600, never in
// a log. Its String has no token; Text has.
type Line struct {
	// Name is whom the token makes.
	Name string
	// Service is what Name is to reach, "" for nothing in particular.
	Service string
	// Authority are the authority's addresses, HOST:PORT, the first tried first.
	Authority []string
	// Root is the SHA-256 of the root's certificate in DER.
	Root [sha256.Size]byte
	// Token is the secret.
	Token Token
}

// Token is 128 random bits. It prints as stars.
type Token [16]byte

// String is not the token.
func (Token) String() string { return "****" }

// GoString is not the token either.
func (Token) GoString() string { return "join.Token(****)" }

// MarshalText gives the token away: it is for the one request that spends it.
func (t Token) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(t[:])), nil
}

// UnmarshalText reads what MarshalText wrote.
func (t *Token) UnmarshalText(text []byte) error {
	b, err := strict.DecodeString(string(text))
	if err != nil || len(b) != len(t) {
		return errors.New("expected a token of 22 characters")
	}
	copy(t[:], b)
	clear(b)
	return nil
}

// Hash is what the authority keeps of a token.
func (t Token) Hash() [sha256.Size]byte { return sha256.Sum256(t[:]) }

const (
	scheme       = "mutual+join:"
	version      = "1"
	checkLen     = 6
	maxLine      = 4096
	maxAddresses = 16
)

var strict = base64.RawURLEncoding.Strict()

// Text is the line, token included.
func (l *Line) Text() string {
	token, _ := l.Token.MarshalText()
	defer clear(token)
	head := l.head() + "/" + string(token)
	return head + "/" + check(head)
}

// String is the line with stars in the place of the token.
func (l *Line) String() string { return l.head() + "/****" }

func (l *Line) head() string {
	service := l.Service
	if service == "" {
		service = "-"
	}
	return scheme + strings.Join([]string{version, l.Name, service, strings.Join(l.Authority, ","),
		base64.RawURLEncoding.EncodeToString(l.Root[:])}, "/")
}

func check(head string) string {
	sum := sha256.Sum256([]byte(head))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:checkLen]
}

// Parse reads a line as people paste it: white space, which terminals and mail
// put in, and quotes around it do not count. The error says what is wrong with
// the line and never quotes it, since it may hold a token.
func Parse(text string) (*Line, error) {
	if len(text) > 2*maxLine {
		return nil, fmt.Errorf("it has %d bytes, and a join line has some 200; paste the line alone", len(text))
	}
	s := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	s = strings.Trim(s, `'"`)
	switch {
	case s == "":
		return nil, errors.New("it is empty")
	case len(s) > maxLine:
		return nil, fmt.Errorf("it has %d bytes, and a join line has some 200; paste the line alone", len(s))
	case !strings.HasPrefix(s, scheme) && strings.HasPrefix(scheme, s[:min(len(s), len(scheme))]):
		return nil, errors.New("it is cut off near its beginning; copy the whole line again")
	case !strings.HasPrefix(s, scheme):
		return nil, fmt.Errorf("it does not begin with %q; copy the line from its beginning", scheme)
	}
	parts := strings.Split(s[len(scheme):], "/")
	if parts[0] != version && len(parts) > 1 {
		return nil, fmt.Errorf("it is of version %s, and this program reads version %s; use the same version of mutual on both sides", identity.Quote(parts[0]), version)
	}
	if len(parts) < 7 {
		return nil, fmt.Errorf("it is cut off: it has %d of 7 pieces; copy it to its last character", len(parts))
	}
	if len(parts) > 7 {
		return nil, fmt.Errorf("it has %d pieces, expected 7; paste one line alone", len(parts))
	}
	head := s[:strings.LastIndexByte(s, '/')]
	switch sum := parts[6]; {
	case len(sum) < checkLen:
		return nil, fmt.Errorf("it is cut off: it has %d of %d check digits; copy it to its last character", len(sum), checkLen)
	case sum != check(head):
		return nil, errors.New("its check digits do not fit: a character was changed, lost or added; copy the line again")
	}
	l := &Line{Name: parts[1], Service: parts[2], Authority: strings.Split(parts[3], ",")}
	if err := l.read(parts[4], parts[5]); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Line) read(root, token string) error {
	if l.Service == "-" {
		l.Service = ""
	}
	b, err := strict.DecodeString(root)
	if err != nil || len(b) != len(l.Root) {
		return errors.New("the hash of its root is not one of 43 characters")
	}
	copy(l.Root[:], b)
	if err := l.Token.UnmarshalText([]byte(token)); err != nil {
		return err
	}
	return l.Check()
}

// Check says what is wrong with the line's names and addresses.
func (l *Line) Check() error {
	if name, err := identity.CleanDNS(l.Name); err != nil || name != l.Name {
		return fmt.Errorf("the name %s in it is no clean DNS name", identity.Quote(l.Name))
	}
	if l.Service != "" {
		if name, err := identity.CleanDNS(l.Service); err != nil || name != l.Service {
			return fmt.Errorf("the service %s in it is no clean DNS name", identity.Quote(l.Service))
		}
	}
	if len(l.Authority) == 0 || len(l.Authority) > maxAddresses {
		return fmt.Errorf("it has %d addresses of the authority, expected 1 to %d", len(l.Authority), maxAddresses)
	}
	for _, a := range l.Authority {
		host, port, err := net.SplitHostPort(a)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(a, "/, ") {
			return fmt.Errorf("the address %s of the authority is not HOST:PORT", identity.Quote(a))
		}
		if _, err := identity.Parse(host); err != nil {
			return fmt.Errorf("the address %s of the authority: %w", identity.Quote(a), err)
		}
	}
	return nil
}
