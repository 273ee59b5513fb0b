// Package identity knows what a name is: a DNS name (lower-case labels,
// internationalised ones as A-labels), an IP address, or a SPIFFE ID; and when a
// name that a certificate carries stands for a name that was asked for (RFC 9525).
//
// Names are compared here and nowhere else, so that path validation, policy and
// gateways cannot disagree. A common name is not a name, and a wildcard is the
// whole leftmost label or nothing. All functions take linear time, allocate
// nothing where they say yes, and are safe for concurrent use.
package identity
