package identity

import (
	"errors"
	"fmt"
	"strings"
)

// maxSPIFFE is the longest SPIFFE ID that must be supported (SPIFFE ID
// specification, section 2.3), maxDomain the longest trust domain in it.
const (
	maxSPIFFE    = 2048
	maxDomain    = 255
	spiffeScheme = "spiffe://"
)

// SPIFFE is a SPIFFE ID: a trust domain and a path, "spiffe://prod.example/web".
// The zero value is none. It is comparable.
type SPIFFE struct{ domain, path string }

// ParseSPIFFE reads a SPIFFE ID by the SPIFFE ID specification, section 2: lower
// case scheme and trust domain, no port, user, query, fragment, percent
// encoding, empty or dotted path segment, and no trailing slash. There is one way
// to write an ID, so two are equal if their bytes are.
func ParseSPIFFE(s string) (SPIFFE, error) {
	if err := checkSPIFFE(s); err != nil {
		return SPIFFE{}, fmt.Errorf("%s is not a SPIFFE ID: %w", Quote(s), err)
	}
	domain, path := splitSPIFFE(s)
	return SPIFFE{domain, path}, nil
}

// NewSPIFFE is the ID of a name in a trust domain: spiffe://domain/name.
func NewSPIFFE(domain, name string) (SPIFFE, error) {
	return ParseSPIFFE(spiffeScheme + domain + "/" + name)
}

// IsSPIFFE says whether s is written as a SPIFFE ID begins. Whether it is one,
// ParseSPIFFE says.
func IsSPIFFE(s string) bool {
	return len(s) >= len("spiffe:") && EqualFold(s[:len("spiffe:")], "spiffe:")
}

// ValidSPIFFE is ParseSPIFFE without the reasons.
func ValidSPIFFE(s string) bool { return checkSPIFFE(s) == nil }

// TrustDomain is the trust domain: "prod.example".
func (id SPIFFE) TrustDomain() string { return id.domain }

// Path is the path with its leading slash: "/web"; "" where the ID names the
// trust domain itself.
func (id SPIFFE) Path() string { return id.path }

// IsZero says that there is no ID.
func (id SPIFFE) IsZero() bool { return id.domain == "" }

// String is the ID as it is written, "" for the zero value.
func (id SPIFFE) String() string {
	if id.IsZero() {
		return ""
	}
	return spiffeScheme + id.domain + id.path
}

var (
	errSPIFFEScheme  = errors.New(`it has to begin with "spiffe://", in lower case`)
	errSPIFFELong    = fmt.Errorf("it is longer than %d bytes", maxSPIFFE)
	errSPIFFEDomain  = errors.New("its trust domain has to be 1 to 255 lower-case letters, digits, dots, hyphens and underscores, without port or user")
	errSPIFFESegment = errors.New("a segment of its path is empty or dotted, or there is a slash at its end")
	errSPIFFEByte    = errors.New("its path may hold letters, digits, dots, hyphens and underscores only; no query, fragment or percent sign")
)

func splitSPIFFE(s string) (domain, path string) {
	rest := s[len(spiffeScheme):]
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}

func checkSPIFFE(s string) error {
	if !strings.HasPrefix(s, spiffeScheme) {
		return errSPIFFEScheme
	}
	if len(s) > maxSPIFFE {
		return errSPIFFELong
	}
	domain, path := splitSPIFFE(s)
	if domain == "" || len(domain) > maxDomain {
		return errSPIFFEDomain
	}
	for i := range len(domain) {
		c := domain[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_') {
			return errSPIFFEDomain
		}
	}
	for path != "" {
		segment := path[1:]
		if i := strings.IndexByte(segment, '/'); i >= 0 {
			segment = segment[:i]
		}
		if segment == "" || segment == "." || segment == ".." {
			return errSPIFFESegment
		}
		for i := range len(segment) {
			c := segment[i]
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_') {
				return errSPIFFEByte
			}
		}
		path = path[1+len(segment):]
	}
	return nil
}
