package code

import (
	"regexp"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
)

func TestPagesAreCompleteAndInOrder(t *testing.T) {
	form := regexp.MustCompile(`^M0[1-9][0-9]{2}$`)
	last := Code("")
	for _, e := range All() {
		if !form.MatchString(string(e.Code)) {
			t.Errorf("%q is not a code", e.Code)
		}
		if e.Code <= last {
			t.Errorf("%s stands after %s", e.Code, last)
		}
		last = e.Code
		if e.Title == "" || strings.HasSuffix(e.Title, ".") {
			t.Errorf("%s: title %q", e.Code, e.Title)
		}
		if !strings.HasSuffix(e.What, ".") || !strings.HasSuffix(e.Mend, ".") {
			t.Errorf("%s: What and Mend have to be sentences: %q, %q", e.Code, e.What, e.Mend)
		}
	}
}

func TestLookupFindsEveryPage(t *testing.T) {
	for _, e := range All() {
		got, ok := Lookup(e.Code)
		if !ok || got != e {
			t.Errorf("Lookup(%s) = %v, %v", e.Code, got, ok)
		}
	}
	for _, c := range []Code{"", "M0000", "M9999", "m0101", "M01011"} {
		if _, ok := Lookup(c); ok {
			t.Errorf("Lookup(%q) found something", c)
		}
	}
}

func TestTheCallerCannotChangeThePages(t *testing.T) {
	All()[0].Title = "changed"
	if All()[0].Title == "changed" {
		t.Error("All gives out the table itself")
	}
}

// The table "Alerts for a refused certificate": scripts and peers rely on it.
func TestAlertsForRefusedCertificates(t *testing.T) {
	want := map[Code]alert.Alert{
		CertificateRequired:    alert.CertificateRequired,
		UnknownAuthority:       alert.UnknownCA,
		MissingIntermediate:    alert.UnknownCA,
		CertificateExpired:     alert.CertificateExpired,
		CertificateNotYetValid: alert.CertificateExpired,
		CertificateRevoked:     alert.CertificateRevoked,
		WrongUsage:             alert.UnsupportedCertificate,
		WrongKeyUsage:          alert.UnsupportedCertificate,
		UnsupportedKey:         alert.UnsupportedCertificate,
		BadSignature:           alert.BadCertificate,
		NameConstraints:        alert.BadCertificate,
		PathTooLong:            alert.BadCertificate,
		WrongName:              alert.BadCertificate,
		NameNotAllowed:         alert.AccessDenied,
		Verifier:               alert.CertificateUnknown,
	}
	for c, a := range want {
		if e, _ := Lookup(c); e.Alert != a {
			t.Errorf("%s puts %s on the wire, want %s", c, e.Alert, a)
		}
	}
}

func TestEveryReceivedAlertHasACode(t *testing.T) {
	for a := range 256 {
		c := ByAlert(alert.Alert(a))
		if !strings.HasPrefix(string(c), "M05") {
			t.Errorf("alert %d: %s", a, c)
		}
	}
	if c := ByAlert(alert.CertificateRequired); c != RefusedCertificateRequired {
		t.Errorf("certificate_required is %s", c)
	}
	for _, a := range []alert.Alert{alert.UnexpectedMessage, alert.BadRecordMAC, alert.RecordOverflow, alert.DecodeError, alert.UnsupportedExtension} {
		if c := ByAlert(a); c != RefusedProtocol {
			t.Errorf("%s is %s", a, c)
		}
	}
	if c := ByAlert(alert.Alert(99)); c != RefusedOther {
		t.Errorf("an alert without a page is %s", c)
	}
}
