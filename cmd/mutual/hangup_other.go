//go:build !unix

package main

import "os"

func hangups() <-chan os.Signal { return nil }
