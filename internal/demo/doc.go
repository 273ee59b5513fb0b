// Package demo is the whole story on one machine: two plain services in processes
// of their own, a gateway beside each, requests that go through, callers that are
// refused with the reason at both ends, and the lines to try it with curl and
// openssl. It tells nothing that it did not check.
package demo
