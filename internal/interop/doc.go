// Package interop holds the tests that speak to other people's TLS: OpenSSL,
// GnuTLS, curl, Node, Bun, Deno and Chromium, each direction where it exists, what
// both sides have, and what one side must refuse. `make peers` installs them.
package interop
