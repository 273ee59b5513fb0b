// Package server is the authority's front doors: a port for those who join, renew
// and follow, over mutual TLS, and the admin socket in the authority's folder. It
// turns requests into calls of package ca, and its problems into answers; it
// decides nothing that ca decides.
package server
