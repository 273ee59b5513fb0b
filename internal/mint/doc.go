// Package mint makes certificates on the spot, for tests, benchmarks and the
// demo: authorities, intermediates and leaves, good ones and, by option, every
// kind of bad one. It holds its keys in memory and asks nobody, so nothing that
// it makes is for production.
package mint
