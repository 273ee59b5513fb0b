package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/mtls"
)

// concealment is what the runner wants of Encrypted Client Hello.
type concealment struct {
	configs, keys  [][]byte
	current        []bool // of configs: whether it is told to those who have another
	list           []byte
	grease, strict bool

	accept         bool
	name           string
	noName         bool
	retry          []byte
	noRetryConfigs bool
}

func init() {
	register(
		octetsList("ech-server-config", func(s *settings) *[][]byte { return &s.ech.configs }),
		octetsList("ech-server-key", func(s *settings) *[][]byte { return &s.ech.keys }),
		doesWith("ech-is-retry-config", func(s *settings, v string) error {
			s.ech.current = append(s.ech.current, v != "0")
			return nil
		}),
		// A client is kept between connections only where these are the same.
		shaping(octets("ech-config-list", func(s *settings) *[]byte { return &s.ech.list })),
		shaping(toggle("enable-ech-grease", func(s *settings) *bool { return &s.ech.grease })),
		shaping(toggle("reject-unusable-ech-config", func(s *settings) *bool { return &s.ech.strict })),
		toggle("expect-ech-accept", func(s *settings) *bool { return &s.ech.accept }),
		text("expect-ech-name-override", func(s *settings) *string { return &s.ech.name }),
		toggle("expect-no-ech-name-override", func(s *settings) *bool { return &s.ech.noName }),
		octets("expect-ech-retry-configs", func(s *settings) *[]byte { return &s.ech.retry }),
		toggle("expect-no-ech-retry-configs", func(s *settings) *bool { return &s.ech.noRetryConfigs }),
	)
}

// octetsList is a flag in base64 that is given once for each element of a list.
func octetsList(name string, to func(s *settings) *[][]byte) flag {
	return doesWith(name, func(s *settings, v string) error {
		b, err := base64.StdEncoding.DecodeString(v)
		*to(s) = append(*to(s), b)
		return err
	})
}

// shaping has f count as a part of what the client is made of.
func shaping(f flag) flag {
	set := f.set
	f.set = func(s *settings, v string) error {
		s.change(func(*config) {})
		return set(s, v)
	}
	return f
}

// serve gives the server its keys.
func (e *concealment) serve(cfg *mtls.ServerConfig) error {
	if len(e.configs) == 0 {
		return nil
	}
	if len(e.keys) != len(e.configs) || len(e.current) != len(e.configs) {
		return errors.New("the ECH configs and keys are not equally many")
	}
	var current, former []*mtls.ECHKey
	for i, config := range e.configs {
		k, err := mtls.ECHKeyOf(config, e.keys[i])
		if err != nil {
			return err
		}
		if e.current[i] {
			current = append(current, k)
		} else {
			former = append(former, k)
		}
	}
	keys, err := mtls.NewECHKeys(current, former...)
	cfg.ECH = keys
	return err
}

// connect gives the client its configs. Where none can be used the runner's
// clients go on in the clear and ours do not, so there are none then.
func (e *concealment) connect(cfg *mtls.ClientConfig) {
	if !e.grease && !e.strict {
		if _, _, err := ech.Choose(e.list); e.list == nil || errors.Is(err, ech.ErrUnusable) {
			return
		}
	}
	cfg.ECH = &mtls.ClientECH{Grease: e.grease}
	if e.list != nil || e.strict {
		cfg.ECH.Source = mtls.ECHSourceFunc(func(context.Context, string) ([]byte, error) { return e.list, nil })
	}
}

// verifyECH looks at a connection whose handshake is over.
func (c *connection) verifyECH() error {
	got := c.conn.Negotiated().ECH
	if c.settings.ech.accept != (got == mtls.ECHAccepted) && (c.settings.ech.accept || !c.server) {
		return fmt.Errorf("the encrypted hello was %v, and that it was accepted was expected: %t", got, c.settings.ech.accept)
	}
	return nil
}

// verifyRejection looks at why there is no connection.
func (s *settings) verifyRejection(err error) error {
	e := &s.ech
	if e.retry == nil && !e.noRetryConfigs {
		return err
	}
	var r *mtls.ECHRejection
	switch {
	case !errors.As(err, &r):
		return fmt.Errorf("ECH was to be rejected: %w", err)
	case !bytes.Equal(r.RetryConfigs, e.retry):
		return fmt.Errorf("the configs to retry with are %x, and %x were expected", r.RetryConfigs, e.retry)
	}
	return err
}

// verifyName looks whom a certificate was to be for.
func (s *settings) verifyName(asked string) error {
	e := &s.ech
	if e.name != "" && asked != e.name || e.noName && asked != s.hostName {
		return fmt.Errorf("the certificate was to be for %q", asked)
	}
	return nil
}
