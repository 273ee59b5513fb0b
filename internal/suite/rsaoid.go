package suite

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"io"
)

// GoBy makes an RSA signer go by the OID in its certificate: id-RSASSA-PSS with
// pss, else rsaEncryption. That is what the peer sees and what it holds our
// signature to; the same two numbers may be wrapped either way on disk, and a
// *rsa.PrivateKey does not know. Other keys are given back as they are.
func GoBy(key crypto.Signer, pss bool) crypto.Signer {
	if own, ok := key.(goingBy); ok {
		key = own.Signer
	}
	if k, err := publicOf(key); err != nil || k.PSS == pss {
		return key
	} else if _, ok := k.Key.(*rsa.PublicKey); !ok {
		return key
	}
	return goingBy{key, pss}
}

// goingBy is an RSA signer with another OID than it has by itself.
type goingBy struct {
	crypto.Signer
	pss bool
}

// RSAPSS says whether the key has the OID id-RSASSA-PSS.
func (k goingBy) RSAPSS() bool { return k.pss }

// Sign holds an id-RSASSA-PSS key to the one padding that it is for.
func (k goingBy) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := opts.(*rsa.PSSOptions); !ok && k.pss {
		return nil, errors.New("an id-RSASSA-PSS key signs with RSASSA-PSS only (RFC 4055, section 1.2)")
	}
	return k.Signer.Sign(rand, digest, opts)
}
