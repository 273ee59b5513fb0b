// Package gateway carries bytes between plain connections and protected ones: a
// Gateway that serves takes mutual TLS in and speaks plainly to what stands
// behind it; one that connects takes plain connections in and speaks mutual TLS
// to a server. It knows an mtls.Server or an mtls.Client, and not where their
// identity and their trust come from.
//
// What it holds to: an end in one direction is carried on as such (half-close); a
// connection that breaks on one side breaks on the other, and never passes for an
// orderly end; a slow side slows the other down, and nothing piles up; and every
// refusal is one sentence in the log.
package gateway
