// Package failpoint names the places where a process can be killed by a test. In
// an ordinary build At does nothing and costs nothing. In a build with the tag
// "failpoints" the process that has a place's name in MUTUAL_FAILPOINT kills
// itself there, as a power cut would; with "NAME:3" the third time it comes by.
//
// The names are string constants at the call, so that tests find them all by
// reading the code.
package failpoint
