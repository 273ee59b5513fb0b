// Package truststore reads the authorities that this machine trusts, as anchors
// for pki. It reads files, since neither the standard library's pool nor anything
// else tells what is in it, and it says where they came from and how many of
// them it had to pass over.
package truststore
