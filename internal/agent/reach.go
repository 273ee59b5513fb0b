package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
)

// dialTime is how long one of several addresses may take to answer.
const dialTime = 5 * time.Second

// Reach connects to a service by its name: its addresses are tried in order until
// one answers that proves to be the service. What is expected is the name, never
// the address; an address where somebody else answers is passed over. c has to
// judge servers by a's Server.
//
// The error is a *mtls.Refusal or an *api.Problem. Of several it is the one that
// tells most: a refusal before an address that does not answer.
func (a *Agent) Reach(ctx context.Context, c *mtls.Client, service string) (*mtls.Conn, error) {
	addresses, err := a.Addresses(ctx, service)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, api.NewProblem(0, code.ServiceUnknown, fmt.Sprintf("%s has told the authority no address", service))
	}
	var worst error
	for _, address := range addresses {
		d := net.Dialer{Timeout: dialTime}
		plain, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			err = mtls.Unreachable(address, err)
		} else {
			var conn *mtls.Conn
			if conn, err = c.Connect(ctx, plain, service); err == nil {
				return conn, nil
			}
		}
		if ctx.Err() != nil {
			return nil, err
		}
		r, ok := mtls.RefusalOf(err)
		if ok && r.Fault == mtls.PeerRefusedUs {
			return nil, err // it is the service, and it does not want us
		}
		if w, had := mtls.RefusalOf(worst); !had || w.Fault == mtls.Network {
			worst = err
		}
	}
	return nil, worst
}

// Advertise is what to tell others of an address that is listened on: where it
// names no host, the host's own address on its default route, or loopback where
// there is no route.
func Advertise(listening net.Addr) ([]string, error) {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok {
		return nil, errors.New("only TCP addresses can be told to others")
	}
	host := Outward()
	if !tcp.IP.IsUnspecified() && tcp.IP != nil {
		host = tcp.IP
	}
	return []string{(&net.TCPAddr{IP: host, Port: tcp.Port}).String()}, nil
}

// Outward is this host's own address on its default route, or loopback. Nothing is
// sent: the kernel is asked which way a datagram would go.
func Outward() net.IP {
	for _, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // RFC 5737, RFC 3849
		c, err := net.Dial("udp", to)
		if err != nil {
			continue
		}
		ip := c.LocalAddr().(*net.UDPAddr).IP
		_ = c.Close()
		if !ip.IsUnspecified() && !ip.IsLinkLocalUnicast() {
			return ip
		}
	}
	return net.IPv4(127, 0, 0, 1)
}
