// Package explain tells in words what TLS does: a handshake as a story, what a
// server speaks that does not speak ours, a verdict as a tree of checks, and what
// a certificate, key or request file holds.
//
// A [Recorder] is an observer, and a [Story] is made of what it saw and of
// nothing else. [Live] has one made with a real server. The words are for who has
// read one article on TLS: they name things as the article did, and say where the
// picture was too simple. Rendering is apart from telling, so that people and
// programs get the same story.
//
// Whatever a peer or a file wrote is quoted before it is told.
package explain
