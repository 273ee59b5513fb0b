// Package keystore reads certificates with their private keys from PEM: PKCS #8
// (id-RSASSA-PSS keys included, which the standard library does not read), SEC 1
// and PKCS #1. It says in a sentence what is wrong with files that do not make an
// identity, and what mends them, and never prompts.
//
// What it read of a private key is zeroed once the key is parsed; the key itself
// lives as long as its signer.
package keystore
