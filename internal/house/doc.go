// Package house holds the tree to its own rules: which room may know which, what
// may not be in a file, that what is exported has words, that the documents say
// what the source does (dependencies, limits, Go, links), and, in report, what a
// run of the tests amounts to.
//
// It has tests only. A new room has to be given its floor in house_test.go.
package house
