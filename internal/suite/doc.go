// Package suite holds the algorithms of TLS 1.3: cipher suites, key exchange
// groups and signature schemes, and the primitives behind them. Above this
// package nobody knows which library computes what.
//
// A primitive comes from the standard library, except where
// github.com/cloudflare/circl was measured to be faster (see x25519_amd64.go and
// mlkem.go, and the benchmarks); the tests compare each against the other, and those in
// the module beside this one run the Wycheproof vectors.
//
// Whatever a peer sends is checked for its length before anything is computed,
// and for being a usable key before anything is believed.
package suite
