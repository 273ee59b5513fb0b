// Package api is what agents, gateways, consoles and the authority say to each
// other: HTTP/1.1 with JSON bodies over mutual TLS, or over the admin socket. Here
// are the paths, the types and the problems; internal/api/client asks, and what the
// authority does with it is internal/ca's.
package api
