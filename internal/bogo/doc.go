// Package bogo is how the engine is held to BoGo, the test suite of BoringSSL:
// config.json says which of its tests are about something that we do not do and
// why, and beside which part of our errors the runner's names for errors stand.
// The runner itself is no part of this repository: docs/conformance.md tells how
// to run it.
package bogo
