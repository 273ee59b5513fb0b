// Package zlint holds what the authority issues to other people's reading of
// RFC 5280: zlint's. It is a module of its own, and ships nothing.
package zlint
