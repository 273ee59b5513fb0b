// Package clock is the wall clock of the program. It is time.Now; in a build with
// the tag "mutualtest" it is moved by what the file in MUTUAL_TEST_CLOCK says, so
// that tests can step the time of real processes back and forth.
package clock
