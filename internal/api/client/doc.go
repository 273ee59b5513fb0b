// Package client asks the authority: as somebody who joins by a line, as an
// identity that the authority made, or at its admin socket. Whoever answers has
// to prove to be the authority before it is told anything.
package client
