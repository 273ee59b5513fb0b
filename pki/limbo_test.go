package pki

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

var (
	limboFile = flag.String("limbo", "testdata/limbo/cases.json.gz", "x509-limbo cases, JSON or gzipped JSON")
	limboWhy  = flag.Bool("limbo-why", false, "print why each case is refused")
)

// limboCase is a case of C2SP's x509-limbo in the suite's own schema, as far as
// it is used.
type limboCase struct {
	ID               string      `json:"id"`
	Kind             string      `json:"validation_kind"`
	Trusted          []string    `json:"trusted_certs"`
	Intermediates    []string    `json:"untrusted_intermediates"`
	Peer             string      `json:"peer_certificate"`
	Time             *time.Time  `json:"validation_time"`
	KeyUsage         []string    `json:"key_usage"`
	ExtendedKeyUsage []string    `json:"extended_key_usage"`
	Result           string      `json:"expected_result"`
	Name             *limboName  `json:"expected_peer_name"`
	Names            []limboName `json:"expected_peer_names"`
	MaxDepth         *int        `json:"max_chain_depth"`
	CRLs             []string    `json:"crls"`
}

type limboName struct{ Kind, Value string }

// limboDifferences are the rules by which we refuse, on purpose, what the suite
// accepts. A rule and not a case is listed, so that it holds for other files of
// the schema; nothing is ever accepted that the suite refuses.
var limboDifferences = []struct {
	rule func(*Verdict) bool
	why  string
}{
	// rfc5280::ca-as-leaf, pathlen::validation-ignores-pathlen-in-leaf
	{func(v *Verdict) bool { return v.Code == code.AuthorityAsLeaf },
		"an authority's key belongs on no service: its certificate is taken as a leaf only if it is itself an anchor"},
	// Cases of the Web PKI that left the suite's usual common name beside other names.
	{func(v *Verdict) bool {
		return v.Code == code.CertificateForm && strings.HasPrefix(v.Expected, commonNameRule)
	},
		"the Baseline Requirements, section 7.1.4.3, want a common name to be one of the names, as other cases of the suite do"},
}

// maxDifferences over the whole suite of 9,780 cases.
const maxDifferences = 10

// profile says which rules a group of cases is about.
func (c *limboCase) profile() Profile {
	switch group, _, _ := strings.Cut(c.ID, "::"); group {
	case "webpki":
		return WebPKI
	case "online": // chains of real sites, good in every browser
		return Browser
	}
	return Private
}

// question is the case in our words; the error is a certificate that does not
// parse, or what we never ask, which are refusals.
func (c *limboCase) question(t *testing.T) (Question, error) {
	q := Question{Purpose: ForServer, At: time.Now(), Profile: c.profile()} // now is what no time means
	if c.Kind == "CLIENT" {
		q.Purpose = ForClient
	}
	if c.Time != nil {
		q.At = *c.Time
	}
	if c.Name != nil && c.Name.Kind == "RFC822" {
		c.Names = append(c.Names, *c.Name)
	} else if c.Name != nil {
		q.Name = c.Name.Value
	}
	if c.MaxDepth != nil {
		if q.MaxIntermediates = *c.MaxDepth; q.MaxIntermediates == 0 {
			q.MaxIntermediates = -1
		}
	}
	var trusted []*Certificate
	for _, b := range c.Trusted {
		// One odd anchor among many is left out, as truststore does it.
		if a, err := Parse(limboDER(t, b)); err == nil {
			trusted = append(trusted, a)
		}
	}
	q.Anchors = NewAnchors(trusted...)
	for _, b := range append([]string{c.Peer}, c.Intermediates...) {
		a, err := Parse(limboDER(t, b))
		if err != nil {
			return q, err
		}
		q.Chain = append(q.Chain, a)
	}
	for _, b := range c.CRLs {
		r, err := ParseRevocationList(limboDER(t, b))
		if err != nil {
			return q, err
		}
		q.RevocationLists = append(q.RevocationLists, r)
	}
	for _, u := range c.KeyUsage { // digitalSignature always is asked for
		bit := slices.Index([]string{"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment",
			"keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"}, u)
		if leaf := q.Chain[0]; bit < 0 || leaf.hasKeyUsage && leaf.X509.KeyUsage&(1<<bit) == 0 {
			return q, fmt.Errorf("the leaf lacks the key usage %s", u)
		}
	}
	for _, u := range c.ExtendedKeyUsage {
		if want := map[Purpose]string{ForServer: "serverAuth", ForClient: "clientAuth"}[q.Purpose]; u != want {
			return q, fmt.Errorf("the extended key usage %s is none of the purpose %s", u, q.Purpose)
		}
	}
	return q, nil
}

func limboDER(t *testing.T, text string) []byte {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// judge answers the case; why names what was wrong, on is the verdict if it came
// to one.
func (c *limboCase) judge(t *testing.T) (ok bool, why string, on *Verdict) {
	q, err := c.question(t)
	if err != nil {
		return false, err.Error(), nil
	}
	v := Verify(q)
	if w := Explain(q); w.OK != v.OK || w.Code != v.Code {
		t.Errorf("%s: Explain says %s, Verify %s", c.ID, w.Code, v.Code)
	}
	if !v.OK {
		return false, string(v.Code) + " " + v.Sentence(), v
	}
	for _, n := range c.Names { // every one of them has to be there
		leaf := q.Chain[0]
		if n.Kind == "RFC822" && !slices.Contains(leaf.Emails(), n.Value) || n.Kind != "RFC822" && !leaf.StandsFor(n.Value) {
			return false, "lacks the name " + n.Value, v
		}
	}
	return true, "", v
}

func limboDifference(v *Verdict) string {
	for _, d := range limboDifferences {
		if v != nil && !v.OK && d.rule(v) {
			return d.why
		}
	}
	return ""
}

func readLimbo(t *testing.T, file string) []limboCase {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(file) {
		// A test runs in its package's folder, and whoever names a file may stand in
		// the module's.
		b, err = os.ReadFile(filepath.Join("..", file))
	}
	if err != nil {
		t.Fatal(err)
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	var suite struct {
		Testcases []limboCase `json:"testcases"`
	}
	if err := json.Unmarshal(b, &suite); err != nil {
		t.Fatal(err)
	}
	if len(suite.Testcases) == 0 {
		t.Fatal("no case")
	}
	return suite.Testcases
}

// Files of cases are read as they come: gzipped or not, and named from here or from
// the module's folder.
func TestLimboFilesAreReadInEachForm(t *testing.T) {
	const gzipped = "testdata/limbo/cases.json.gz"
	want := readLimbo(t, gzipped)
	if got := readLimbo(t, "pki/"+gzipped); len(got) != len(want) {
		t.Errorf("%d cases, named from the module's folder", len(got))
	}
	b, err := os.ReadFile(gzipped)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(plain, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readLimbo(t, plain); len(got) != len(want) || got[0].ID != want[0].ID {
		t.Errorf("%d cases in plain JSON", len(got))
	}
}

func TestLimbo(t *testing.T) {
	type count struct{ right, different, wrong int }
	groups := map[string]*count{}
	for _, c := range readLimbo(t, *limboFile) {
		group := c.ID[:max(strings.LastIndex(c.ID, "::"), 0)]
		if groups[group] == nil {
			groups[group] = &count{}
		}
		ok, why, v := c.judge(t)
		switch wanted := c.Result == "SUCCESS"; {
		case ok == wanted:
			groups[group].right++
			if *limboWhy && !ok {
				t.Logf("%s: %s", c.ID, why)
			}
		case !ok && limboDifference(v) != "":
			groups[group].different++
			t.Logf("%s is refused on purpose: %s", c.ID, limboDifference(v))
		default:
			groups[group].wrong++
			t.Errorf("%s: want %s: %s", c.ID, c.Result, why)
		}
	}
	total := count{}
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		g := groups[name]
		t.Logf("%-30s %5d right, %d different on purpose, %d wrong", name, g.right, g.different, g.wrong)
		total = count{total.right + g.right, total.different + g.different, total.wrong + g.wrong}
	}
	t.Logf("%-30s %5d right, %d different on purpose, %d wrong", "all", total.right, total.different, total.wrong)
	if total.different > maxDifferences {
		t.Errorf("%d cases are refused on purpose, at most %d may be", total.different, maxDifferences)
	}
}
