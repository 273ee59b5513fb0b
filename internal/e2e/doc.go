// Package e2e holds the tests that start the real program, in processes and
// folders of its own, as a user would.
package e2e
