//go:build !linux && !darwin

package server

import "net"

// mayAdminister leaves it to the folder, which lets nobody else in.
func mayAdminister(net.Conn) error { return nil }
