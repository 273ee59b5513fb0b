package main

import (
	"bufio"
	"bytes"
	"errors"
	"slices"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// What an application chooses for itself, and the runner takes for a part of TLS.

func init() {
	register(
		numbers("server-supported-groups-hint", func(s *settings) *[]mtls.Group { return &s.hint }),
		toggle("peek-then-read", func(s *settings) *bool { return &s.after.peek }),
	)
}

// usualSchemes are those that the runner expects of somebody who was told of none.
var usualSchemes = []mtls.Scheme{
	suite.ECDSAWithP256AndSHA256, suite.RSAPSSWithSHA256, suite.ECDSAWithP384AndSHA384, suite.RSAPSSWithSHA384, suite.RSAPSSWithSHA512,
}

// choose settles what the flags left open.
func (c *connection) choose(common *mtls.Common, client *mtls.ClientConfig) {
	if common.Schemes == nil {
		common.Schemes = usualSchemes
	}
	if client == nil || c.hint == nil {
		return
	}
	groups := client.Groups
	if groups == nil {
		groups = suite.Groups()
	}
	// The server is said to have groups: the first of ours that it has is the one.
	if i := slices.IndexFunc(groups, func(g mtls.Group) bool { return slices.Contains(c.hint, g) }); i >= 0 {
		client.Shares = groups[i : i+1]
	}
}

// peeker looks ahead before each Read.
type peeker struct{ *bufio.Reader }

var errPeek = errors.New("what was read is not what was seen ahead")

func (r peeker) Read(p []byte) (int, error) {
	if _, err := r.Peek(1); err != nil {
		return 0, err
	}
	n := min(len(p), r.Buffered())
	first, _ := r.Peek(n)
	seen := bytes.Clone(first)
	n, err := r.Reader.Read(p[:n])
	if err == nil && !bytes.Equal(p[:n], seen[:n]) {
		err = errPeek
	}
	return n, err
}
