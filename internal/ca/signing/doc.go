// Package signing holds the authority's keys, and lets each of them sign only what
// was judged and recorded.
//
// The way there is one way, and the types are its gates: bytes to be signed are
// judged by a profile and by rules of our own (Judge), are recorded by the caller
// (Judged.Record), which alone gives leave (Leave), and leave is good for one
// signature, by one key, over exactly those bytes (Signer.Sign). No other function
// reaches a key, and no other package can make a Leave.
package signing
