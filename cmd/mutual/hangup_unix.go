//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// hangups are the SIGHUPs from now on: the files are to be read again. It is asked
// for before anything else, since one that comes during the start is not to stop it.
func hangups() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}
