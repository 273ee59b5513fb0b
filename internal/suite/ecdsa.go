package suite

import (
	"bytes"
	"crypto/elliptic"
	"errors"
)

var (
	errECDSADER   = errors.New("the ECDSA signature is not strict DER")
	errECDSARange = errors.New("the ECDSA signature's r or s is not between 1 and the order of the curve")
)

// checkECDSA holds a signature to SEQUENCE { INTEGER r, INTEGER s } in DER, with
// 1 <= r, s < n, before anybody computes with it. crypto/ecdsa checks the same
// today; this is the check that we can point at (CVE-2022-21449). It allocates
// nothing.
func checkECDSA(c elliptic.Curve, sig []byte) error {
	body, rest, ok := element(sig, 0x30)
	if !ok || len(rest) != 0 {
		return errECDSADER
	}
	order := orderOf(c)
	for range 2 {
		var v []byte
		if v, body, ok = element(body, 0x02); !ok {
			return errECDSADER
		}
		switch {
		case len(v) == 0,
			len(v) > 1 && v[0] == 0x00 && v[1] < 0x80, // a needless leading zero
			len(v) > 1 && v[0] == 0xff && v[1] >= 0x80:
			return errECDSADER
		case v[0] >= 0x80: // negative
			return errECDSARange
		}
		if v[0] == 0x00 {
			v = v[1:]
		}
		if len(v) == 0 || len(v) > len(order) || len(v) == len(order) && bytes.Compare(v, order) >= 0 {
			return errECDSARange
		}
	}
	if len(body) != 0 {
		return errECDSADER
	}
	return nil
}

// element takes one DER element with the tag off b. Lengths go up to 255, and a
// signature over P-521 needs 139.
func element(b []byte, tag byte) (body, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != tag {
		return nil, nil, false
	}
	n, b := int(b[1]), b[2:]
	if n >= 0x80 {
		if n != 0x81 || len(b) < 1 || b[0] < 0x80 {
			return nil, nil, false
		}
		n, b = int(b[0]), b[1:]
	}
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

var (
	orderP256 = elliptic.P256().Params().N.Bytes()
	orderP384 = elliptic.P384().Params().N.Bytes()
	orderP521 = elliptic.P521().Params().N.Bytes()
)

func orderOf(c elliptic.Curve) []byte {
	switch c {
	case elliptic.P256():
		return orderP256
	case elliptic.P384():
		return orderP384
	}
	return orderP521
}
