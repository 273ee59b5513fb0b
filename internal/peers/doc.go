// Package peers finds and runs other people's programs for tests: OpenSSL,
// GnuTLS, NSS, curl, Node, Bun, Deno, Chromium. `make peers` installs them. One that
// is missing is a skip that everybody sees, and with CI set a failure.
package peers
