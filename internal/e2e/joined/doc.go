// Package joined holds the tests of the story of two commands with the real
// program: an authority that serve makes, join lines, identities that renew
// themselves, and what happens to all that where processes are killed, disks are
// full, clocks are set and networks are two.
//
// The program is built twice: as it is, with the race detector, and with a clock
// that a test can move (the tag mutualtest), without it.
package joined
