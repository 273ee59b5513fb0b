// Package house holds the tree to its own rules: which room may know which, what
// may not be in a file, and (in report) what a run of the tests amounts to.
package house
