//go:build !unix

package gateway

import "net"

func awaitUnread(net.Conn) {}
