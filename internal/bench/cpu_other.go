//go:build !unix

package main

import "time"

var started = time.Now()

// processorTime is the clock, where the process can't say what it used.
func processorTime() time.Duration { return time.Since(started) }
