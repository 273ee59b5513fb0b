package ech

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hpke"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// A private key between HPKE and PKCS #8, for the KEMs that PKCS #8 has a form for.

func fromStandard(key any) (hpke.PrivateKey, error) {
	switch k := key.(type) {
	case *ecdh.PrivateKey:
		return hpke.NewDHKEMPrivateKey(k)
	case *ecdsa.PrivateKey:
		e, err := k.ECDH()
		if err != nil {
			return nil, err
		}
		return hpke.NewDHKEMPrivateKey(e)
	}
	return nil, fmt.Errorf("a key of the kind %T can't be used with HPKE", key)
}

// PEM is the key and its config as ParsePEM reads them.
func (k *Key) PEM() ([]byte, error) {
	curve, ok := map[uint16]ecdh.Curve{KEMX25519: ecdh.X25519(), KEMP256: ecdh.P256(), KEMP384: ecdh.P384(), KEMP521: ecdh.P521()}[k.Config.KEM]
	if !ok {
		return nil, fmt.Errorf("PKCS #8 has no form for a key of the KEM %#04x", k.Config.KEM)
	}
	b, err := k.private.Bytes()
	if err != nil {
		return nil, err
	}
	defer clear(b)
	key, err := curve.NewPrivateKey(b)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	out := pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: configBlock, Bytes: k.List()})...), nil
}
