// Package join makes, reads and prints the join line: one line of text that says
// where an authority is, which root it has, who the reader is to become, and
// what it is to reach, with a token that proves all that once.
package join
