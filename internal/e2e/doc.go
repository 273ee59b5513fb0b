// Package e2e holds the tests that start the real program, in processes and
// folders of its own, as a user would: gateways in front of plain services, callers
// that are let in and callers that are refused, a browser among them, files that
// change, signals, and the README, whose commands are run as they are written.
//
// The program is built once, with the race detector. What only a unit test can
// arrange, and what is about the protocol, is tried in the room that it is about.
package e2e
