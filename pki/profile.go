package pki

import (
	"fmt"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
)

// Profile is how strictly certificates are held to the form that an RFC gives
// them. Whatever the profile, a path is validated by RFC 5280, section 6, whole:
// a profile refuses more, never less.
type Profile uint8

// The profiles.
const (
	// Basic asks no more than validation needs: what software of all kinds makes
	// is taken, as long as it says clearly what it means.
	Basic Profile = iota
	// Private is RFC 5280, section 4, as it is written: serial numbers, key
	// identifiers, criticality, names in the preferred syntax. An authority of
	// one's own can be held to it.
	Private
	// SVID is the X.509-SVID specification on top of Private: one SPIFFE ID.
	SVID
	// Browser is what browsers ask of the Web's servers: subject alternative name
	// and extended key usage, the longest validity by the day of issue, no
	// wildcard for a whole registry.
	Browser
	// WebPKI is the Baseline Requirements of the CA/Browser Forum to the letter,
	// roots included.
	WebPKI
	profiles
)

// String is the profile's name, as it stands in messages.
func (p Profile) String() string {
	switch p {
	case Basic:
		return "basic"
	case Private:
		return "private"
	case SVID:
		return "svid"
	case Browser:
		return "browser"
	case WebPKI:
		return "webpki"
	}
	return "none"
}

// ParseProfile is the profile of a name.
func ParseProfile(name string) (Profile, error) {
	for p := range profiles {
		if p.String() == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%s is not a profile; there are basic, private, svid, browser and webpki", identity.Quote(name))
}

// profileSet is a set of profiles.
type profileSet uint8

const (
	everywhere profileSet = 1<<profiles - 1
	inRFC      profileSet = 1<<Private | 1<<SVID | 1<<WebPKI
	inRFCAlone profileSet = 1<<Private | 1<<SVID // where the Baseline Requirements allow what RFC 5280 does not
	inSVID     profileSet = 1 << SVID
	onWeb      profileSet = 1<<Browser | 1<<WebPKI
	inWebPKI   profileSet = 1 << WebPKI
)

func (s profileSet) has(p Profile) bool { return s&(1<<p) != 0 }

// fault is where a certificate leaves the form that some profiles ask for. It is
// found when the certificate is parsed, and refuses when one of them judges.
type fault struct {
	in              profileSet
	code            code.Code
	expected, found string // nothing found: the names there are
	sparesAnchor    bool   // it is no fault of an anchor
}

// faultOf is the first fault that the question's profile refuses; nil for none.
func (s *search) faultOf(c *Certificate) *fault {
	for i := range c.faults {
		if f := &c.faults[i]; f.in.has(s.q.Profile) && !(f.sparesAnchor && s.q.Anchors.Contains(c)) {
			return f
		}
	}
	return nil
}

func judgeForm(s *search, _ int, c *Certificate) code.Code {
	if f := s.faultOf(c); f != nil {
		return f.code
	}
	return ""
}

func wordsForm(s *search, _ int, c *Certificate) (string, string) {
	if f := s.faultOf(c); f != nil {
		found := f.found
		if found == "" {
			found = c.namesWords()
		}
		return f.expected + " (profile " + s.q.Profile.String() + ")", found
	}
	return "the form that the profile " + s.q.Profile.String() + " asks for", "as the profile " + s.q.Profile.String() + " asks"
}
