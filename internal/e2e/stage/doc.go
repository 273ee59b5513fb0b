// Package stage is what the tests of the real program share: it is built, started
// and asked as a user would, and what it logs is awaited.
package stage
