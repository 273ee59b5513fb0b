package wycheproof

import (
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

// parse reads a group's key once for all of its vectors.
func parse(t *testing.T, cache map[*group]*suite.PublicKey, g *group) *suite.PublicKey {
	t.Helper()
	if cache[g] == nil {
		k, err := suite.ParsePublicKey(g.PublicKeyDer)
		if err != nil {
			t.Fatal(err)
		}
		cache[g] = k
	}
	return cache[g]
}

func verifies(t *testing.T, v *vector, err error) {
	t.Helper()
	if v.Result == "valid" && err != nil {
		t.Errorf("refused: %v", err)
	}
	if v.Result == "invalid" && err == nil {
		t.Error("accepted")
	}
}

func TestSignatures(t *testing.T) {
	for _, c := range []struct {
		scheme suite.Scheme
		least  int
		files  []string
	}{
		{suite.ECDSAWithP256AndSHA256, 400, []string{"ecdsa_secp256r1_sha256"}},
		{suite.ECDSAWithP384AndSHA384, 400, []string{"ecdsa_secp384r1_sha384"}},
		{suite.ECDSAWithP521AndSHA512, 400, []string{"ecdsa_secp521r1_sha512"}},
		{suite.Ed25519, 100, []string{"ed25519"}},
		{suite.RSAPSSWithSHA256, 90, []string{"rsa_pss_2048_sha256_mgf1_32", "rsa_pss_3072_sha256_mgf1_32", "rsa_pss_4096_sha256_mgf1_32"}},
		{suite.RSAPSSWithSHA384, 90, []string{"rsa_pss_2048_sha384_mgf1_48", "rsa_pss_4096_sha384_mgf1_48"}},
		{suite.RSAPSSWithSHA512, 90, []string{"rsa_pss_4096_sha512_mgf1_64"}},
		{suite.PSSPSSWithSHA256, 90, []string{"rsa_pss_2048_sha256_mgf1_32_params", "rsa_pss_3072_sha256_mgf1_32_params"}},
		{suite.PSSPSSWithSHA512, 90, []string{"rsa_pss_4096_sha512_mgf1_64_params"}},
		{suite.PKCS1WithSHA256, 200, []string{"rsa_signature_2048_sha256", "rsa_signature_3072_sha256", "rsa_signature_4096_sha256", "rsa_signature_8192_sha256"}},
		{suite.PKCS1WithSHA384, 200, []string{"rsa_signature_2048_sha384", "rsa_signature_3072_sha384", "rsa_signature_4096_sha384", "rsa_signature_8192_sha384"}},
		{suite.PKCS1WithSHA512, 200, []string{"rsa_signature_2048_sha512", "rsa_signature_3072_sha512", "rsa_signature_4096_sha512", "rsa_signature_8192_sha512"}},
	} {
		for _, file := range c.files {
			keys := map[*group]*suite.PublicKey{}
			each(t, file, c.least, func(t *testing.T, g *group, v *vector) {
				verifies(t, v, parse(t, keys, g).Verify(c.scheme, v.Msg, v.Sig))
			})
		}
	}
}

// ECDSA with hashes that TLS does not pair with the curve, as certificates have them.
func TestCertificateSignatures(t *testing.T) {
	for file, algorithm := range map[string]string{
		"ecdsa_secp256r1_sha256": "300a06082a8648ce3d040302",
		"ecdsa_secp256r1_sha512": "300a06082a8648ce3d040304",
		"ecdsa_secp384r1_sha256": "300a06082a8648ce3d040302",
		"ecdsa_secp384r1_sha512": "300a06082a8648ce3d040304",
	} {
		id, err := hex.DecodeString(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[*group]*suite.PublicKey{}
		each(t, file, 300, func(t *testing.T, g *group, v *vector) {
			verifies(t, v, parse(t, keys, g).VerifyCertificate(id, v.Msg, v.Sig))
		})
	}
}

// A salt of another length than the hash, two hashes, or a hash that is not
// SHA-2: no scheme takes it, however good the signature is.
func TestPSSOtherThanInTLS(t *testing.T) {
	lengths := map[string]int{"SHA-256": 32, "SHA-384": 48, "SHA-512": 64}
	for _, file := range []string{
		"rsa_pss_2048_sha1_mgf1_20", "rsa_pss_2048_sha256_mgf1_0", "rsa_pss_2048_sha256_mgf1sha1_20",
		"rsa_pss_2048_sha512_224_mgf1_28", "rsa_pss_2048_sha512_256_mgf1_32", "rsa_pss_4096_sha512_mgf1_32",
		"rsa_pss_2048_sha1_mgf1_20_params", "rsa_pss_2048_sha256_mgf1_0_params",
		"rsa_pss_2048_sha512_mgf1sha256_32_params", "rsa_pss_4096_sha512_mgf1_32_params",
		"rsa_pss_misc_params",
	} {
		tls := 0
		each(t, file, 50, func(t *testing.T, g *group, v *vector) {
			inTLS := g.Sha == g.MgfSha && lengths[g.Sha] == g.SLen && g.SLen > 0
			// Some vectors are wrong for their group because their salt has another
			// length, and that length may be the one that TLS asks for.
			resalted := g.Sha == g.MgfSha && lengths[g.Sha] > 0 && v.Comment == fmt.Sprintf("s_len changed to %d", lengths[g.Sha])
			key, err := suite.ParsePublicKey(g.PublicKeyDer)
			if err != nil {
				if inTLS {
					t.Fatal(err)
				}
				return // its parameters already say what TLS does not do
			}
			accepted := slices.ContainsFunc(suite.Schemes(), func(s suite.Scheme) bool {
				return key.Verify(s, v.Msg, v.Sig) == nil
			})
			if want := inTLS && v.Result == "valid" || resalted; accepted != want {
				t.Errorf("%s, MGF1 with %s, salt of %d: accepted %v", g.Sha, g.MgfSha, g.SLen, accepted)
			}
			if inTLS {
				tls++
			}
		})
		if file == "rsa_pss_misc_params" && tls != 3 {
			t.Errorf("%d of its groups are for TLS, expected 3", tls)
		}
	}
}
