// Package interop holds the tests that speak to other people's TLS: OpenSSL,
// GnuTLS, curl, Node, Bun and Deno, each direction where it exists, what both sides
// have, and what one side must refuse. `make peers` installs them. Chromium speaks
// to the real program, in internal/e2e.
package interop
