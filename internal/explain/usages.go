package explain

import (
	"crypto/x509/pkix"
	"encoding/asn1"
)

// Key usages by their names in RFC 5280, sections 4.2.1.3 and 4.2.1.12.

var keyUsages = [...]string{"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment",
	"keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"}

// extendedUsages are those that have names here, by their last arc under id-kp.
var extendedUsages = map[int]string{
	1: "serverAuth", 2: "clientAuth", 3: "codeSigning", 4: "emailProtection",
	5: "ipsecEndSystem", 6: "ipsecTunnel", 7: "ipsecUser", 8: "timeStamping", 9: "OCSPSigning",
}

var (
	oidKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasic         = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtendedUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidAnyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37, 0}
	oidKeyPurpose    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3} // id-kp
)

func extendedName(oid asn1.ObjectIdentifier) string {
	if oid.Equal(oidAnyUsage) {
		return "anyExtendedKeyUsage"
	}
	if n := len(oidKeyPurpose); len(oid) == n+1 && oid[:n].Equal(oidKeyPurpose) && extendedUsages[oid[n]] != "" {
		return extendedUsages[oid[n]]
	}
	return oid.String()
}

// usages are what extensions allow a key to be used for, and whether they make an
// authority. What does not parse is passed over: this tells, and does not judge.
func usages(extensions []pkix.Extension) (names []string, ca bool) {
	names = []string{}
	for _, e := range extensions {
		switch {
		case e.Id.Equal(oidKeyUsage):
			var bits asn1.BitString
			if _, err := asn1.Unmarshal(e.Value, &bits); err == nil {
				for i, name := range keyUsages {
					if bits.At(i) != 0 {
						names = append(names, name)
					}
				}
			}
		case e.Id.Equal(oidExtendedUsage):
			var oids []asn1.ObjectIdentifier
			if _, err := asn1.Unmarshal(e.Value, &oids); err == nil {
				for _, oid := range oids {
					names = append(names, extendedName(oid))
				}
			}
		case e.Id.Equal(oidBasic):
			var basic struct {
				CA      bool `asn1:"optional"`
				PathLen int  `asn1:"optional,default:-1"`
			}
			if _, err := asn1.Unmarshal(e.Value, &basic); err == nil {
				ca = basic.CA
			}
		}
	}
	return names, ca
}
