// Command shim puts mtls between BoGo, the test runner of BoringSSL, and a
// connection: the runner starts it with flags that say what to be and what to
// expect, and plays the peer.
//
// What the flags mean is the runner's to say. Each is an entry in a table, made
// where the feature is that it is about, and either changes the configuration of
// an ordinary mtls.Server or mtls.Client, or adds a check. A flag that is not in
// the table ends the process with the code that says "not implemented".
package main
