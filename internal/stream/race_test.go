//go:build race

package stream

// raced says that the race detector is on, which makes everything slower.
const raced = true
