package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/mtls"
)

// beside is what the runner wants of what stands beside certificates: answers of
// authorities about revocation, and timestamps of logs.
type beside struct {
	response, timestamps []byte // that the peer is expected to show
	callback             bool   // the application says itself what is shown, and whether it likes what it sees
	declines, fails      bool
}

func init() {
	register(
		octets("ocsp-response", func(s *settings) *[]byte { return &s.credential().response }),
		octets("signed-cert-timestamps", func(s *settings) *[]byte { return &s.credential().timestamps }),

		// The runner takes it that clients alone ask.
		does("enable-ocsp-stapling", func(s *settings) {
			s.change(func(c *config) { c.Beside.OCSP = c.client != nil })
		}),
		does("enable-signed-cert-timestamps", func(s *settings) {
			s.change(func(c *config) { c.Beside.Timestamps = c.client != nil })
		}),
		octets("expect-ocsp-response", func(s *settings) *[]byte { return &s.beside.response }),
		octets("expect-signed-cert-timestamps", func(s *settings) *[]byte { return &s.beside.timestamps }),

		toggle("use-ocsp-callback", func(s *settings) *bool { return &s.beside.callback }),
		toggle("fail-ocsp-callback", func(s *settings) *bool { return &s.beside.fails }),
		toggle("decline-ocsp-callback", func(s *settings) *bool { return &s.beside.declines }),
		ignored("set-ocsp-in-callback"), // a response can be exchanged at any time

		doesWith("expect-client-ca-list", func(s *settings, v string) (err error) {
			s.expect.authorities, err = names(v)
			return err
		}),
	)
}

// names are distinguished names in hexadecimal.
func names(v string) (list [][]byte, err error) {
	for one := range strings.SplitSeq(v, ",") {
		b, err := hex.DecodeString(one)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// staple puts beside the certificate what the flags say. The runner's responses
// are four bytes that say nothing, so it is here that they get a time.
func (c *credential) staple(now time.Time, response bool) error {
	if response && c.response != nil {
		if err := c.certificate.Staple(mtls.Staple{Response: c.response, From: now.Add(-time.Hour), Until: now.AddDate(1, 0, 0)}); err != nil {
			return err
		}
	}
	if c.timestamps == nil {
		return nil
	}
	list, err := message.SCTList(c.timestamps)
	if err != nil {
		return err
	}
	return c.certificate.Timestamps(list...)
}

// mayShow is the application's word on the answers of its authority.
func (b *beside) mayShow() error {
	if b.callback && b.fails {
		return errors.New("the runner wants that there is no answer about revocation to be had")
	}
	return nil
}

// judge looks at what the peer showed beside its certificate. A resumption shows
// nothing: that was in the first handshake.
func (b *beside) judge(claim *mtls.Claim) (*mtls.Verdict, error) {
	if b.callback && b.fails {
		return &mtls.Verdict{
			Code: string(code.NoStaple), Alert: alert.BadCertificateStatusResponse, Reason: "the runner wants it refused for what its authority says",
		}, nil
	}
	if claim.Occasion == mtls.Resumption {
		return nil, nil
	}
	if b.response != nil && (len(claim.OCSP) == 0 || !bytes.Equal(claim.OCSP[0], b.response)) {
		return nil, fmt.Errorf("the peer's response is %x, and %x was expected", claim.OCSP, b.response)
	}
	if b.timestamps == nil {
		return nil, nil
	}
	want, err := message.SCTList(b.timestamps)
	if err == nil && !slices.EqualFunc(want, claim.Timestamps, bytes.Equal) {
		err = fmt.Errorf("the peer's timestamps are %x, and %x were expected", claim.Timestamps, want)
	}
	return nil, err
}
