package suite

// GREASE gives the value of RFC 8701, section 2, that belongs to a random byte:
// one of the sixteen from 0x0a0a to 0xfafa, for suites, groups, schemes, versions
// and extensions alike.
func GREASE(random byte) uint16 { return uint16(random&0xf0|0x0a) * 0x0101 }

// IsGREASE says whether a value is one that nobody means.
func IsGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }
