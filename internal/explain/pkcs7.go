package explain

import (
	"encoding/pem"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/pki"
)

const oidSignedData = oidData + "\x02"

// fromPKCS7 takes the certificates out of a file that holds nothing else (.p7b): a
// SignedData without signers (RFC 5652, section 5.1). nil is what is none. The set
// that they stand in has an order of its own, so that a leaf is put first.
func fromPKCS7(file []byte) [][]byte {
	in := cryptobyte.String(file)
	var info, oid, signed, data, set cryptobyte.String
	tag := der.Tag(0).ContextSpecific().Constructed()
	ok := in.ReadASN1(&info, der.SEQUENCE) && in.Empty() &&
		info.ReadASN1(&oid, der.OBJECT_IDENTIFIER) && string(oid) == oidSignedData &&
		info.ReadASN1(&signed, tag) && info.Empty() &&
		signed.ReadASN1(&data, der.SEQUENCE) && signed.Empty() &&
		data.SkipASN1(der.INTEGER) && data.SkipASN1(der.SET) && data.SkipASN1(der.SEQUENCE) &&
		data.ReadASN1(&set, tag)
	var out [][]byte
	for ok && !set.Empty() && len(out) < maxBlocks {
		var one cryptobyte.String
		if !set.ReadASN1Element(&one, der.SEQUENCE) {
			return nil
		}
		out = append(out, one)
	}
	for i, b := range out {
		if c, err := pki.Parse(b); err == nil && !(c.X509.BasicConstraintsValid && c.X509.IsCA) {
			out[0], out[i] = out[i], out[0]
			break
		}
	}
	return out
}

// isPKCS7 says whether a PEM block is a file of that kind.
func isPKCS7(block *pem.Block) bool { return block.Type == "PKCS7" || block.Type == "CMS" }

func inspectPKCS7(b []byte, now time.Time) ([]*Thing, error) {
	var out []*Thing
	for _, one := range fromPKCS7(b) {
		t, err := inspectCertificate(one, now)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	if out == nil {
		return nil, errPKCS7
	}
	return out, nil
}
