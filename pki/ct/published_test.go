package ct

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"
)

// read gives the certificates of a file in testdata.
func read(t testing.TB, name string) []*x509.Certificate {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func published(t testing.TB, description, operator, key string, state State, since time.Time) Log {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return Log{Key: b, Description: description, Operator: operator, State: state, Since: since}
}

const (
	testLogKey  = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmXg8sUUzwBYaWrRb+V0IopzQ6o3UyEJ04r5ZrRXGdpYM8K+hB0pXrGRLI0eeWz+3skXrS0IO83AhA3GpRL6s6w=="
	pilotKey    = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfahLEimAoz2t01p3uMziiLOl/fHTDM0YDOhBRuiBARsV4UvxG2LdNgoIGLrtCzWE0J5APC2em4JlvR8EEEFMoA=="
	aviatorKey  = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1/TMabLkDpCjiupacAlP7xNi0I1JYP8bQFAHDG1xhtolSY1l4QgNRzRrvSe8liE+NPWHdjGxfx3JhTsN9x8/6Q=="
	digicertKey = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAkbFvhu7gkAW6MHSrBlpE1n4+HCFRkC5OLAjgqhkTH+/uzSfSl8ois8ZxAD2NgaTZe1M9akhYlrYkes4JECs6A=="

	// plainTimestamp is that of plain.pem, by the test log.
	plainTimestamp = "00df1c2ec11500945247a96168325ddc5c7959e8f7c6d388fc002e0bbd3f74d7640000013ddb27ded900000403004730450220" +
		"606e10ae5c2d5a1b0aed49dc4937f48de71a4e9784e9c208dfbfe9ef536cf7f2022100beb29c72d7d06d61d06bdb38a069469aa86fe12e18bb7cc45689a2c0187ef5a5"
)

// The timestamps of a certificate that the public had, by the keys that the public
// has: of two logs of Google's and one of DigiCert's, over what the authority was to
// sign.
func TestAPublicCertificateWithTimestampsOfPublicLogs(t *testing.T) {
	chain := read(t, "comodo.pem")
	then := time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC)
	evidence := Evidence{Certificate: chain[0].Raw, Issuer: chain[1].RawSubjectPublicKeyInfo, NotBefore: chain[0].NotBefore, NotAfter: chain[0].NotAfter}
	policy := policyOf(t, Chrome,
		published(t, "Google 'Pilot' log", "Google", pilotKey, Usable, time.Time{}),
		published(t, "Google 'Aviator' log", "Google", aviatorKey, ReadOnly, time.Time{}),
		published(t, "DigiCert Log Server", "DigiCert", digicertKey, Retired, then.AddDate(2, 0, 0)))
	r := policy.Judge(evidence, then)
	if !r.OK || r.Certificate != (Count{3, 2}) || len(r.Timestamps) != 3 {
		t.Fatalf("%+v", r)
	}
	for i, at := range []string{"2015-12-01T13:31:25.961Z", "2015-12-01T13:31:25.352Z", "2015-12-01T13:31:25.98Z"} {
		if j := r.Timestamps[i]; j.Wrong != "" || j.At.Format(time.RFC3339Nano) != at {
			t.Errorf("timestamp %d: %v %q", i, j.At.Format(time.RFC3339Nano), j.Wrong)
		}
	}
	// Of another issuer none of them is, whatever its certificate says.
	evidence.Issuer = chain[0].RawSubjectPublicKeyInfo
	if r := policy.Judge(evidence, then); r.OK || r.Certificate.Logs != 0 {
		t.Errorf("with another issuer's key: %+v", r)
	}
}

func TestPublishedTimestampsInACertificateAndBesideOne(t *testing.T) {
	log := published(t, "the test log", "Google", testLogKey, Usable, time.Time{})
	policy := policyOf(t, Rule{Timestamps: 1}, log)
	then := time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)

	chain := read(t, "embedded.pem")
	r := policy.Judge(Evidence{Certificate: chain[0].Raw, Issuer: chain[1].RawSubjectPublicKeyInfo, NotAfter: chain[0].NotAfter}, then)
	if !r.OK || r.Certificate.Logs != 1 {
		t.Errorf("in the certificate: %+v", r)
	}
	plain := read(t, "plain.pem")[0]
	stamp, err := hex.DecodeString(plainTimestamp)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Evidence{
		"handshake": {Certificate: plain.Raw, NotAfter: plain.NotAfter, Handshake: [][]byte{stamp}},
		"OCSP":      {Certificate: plain.Raw, NotAfter: plain.NotAfter, OCSP: [][]byte{stamp}},
	} {
		if r := policy.Judge(e, then); !r.OK || r.Beside.Logs != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// The one is a promise about what stands in the other's place for the log.
	if r := policy.Judge(Evidence{Certificate: chain[0].Raw, Handshake: [][]byte{stamp}}, then); r.OK || !strings.Contains(r.Timestamps[1].Wrong, "did not sign it") {
		t.Errorf("a timestamp of another certificate: %+v", r)
	}
}
