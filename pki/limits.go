package pki

// LimitsNames says whether c's own name constraints permit only some DNS names,
// and whether they permit only some IP addresses (RFC 5280, section 4.2.1.10). An
// authority that limits neither can make a certificate for any site there is.
func (c *Certificate) LimitsNames() (dns, ip bool) {
	if c.constraints == nil {
		return false, false
	}
	return c.constraints.limits[nameDNS], c.constraints.limits[nameIP]
}
