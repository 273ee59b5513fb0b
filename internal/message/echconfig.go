package message

import (
	"errors"
	"fmt"
	"slices"
)

// ECHConfig is an ECHConfig (RFC 9849, section 4): the key that clients encrypt
// their hellos to.
type ECHConfig struct {
	// Raw is all of it, version and length included.
	Raw     []byte
	Version uint16
	// What follows is of the version ECHVersion, and zero for others, which have
	// to be skipped.
	ID        uint8
	KEM       uint16
	PublicKey []byte
	Suites    []ECHSuite
	// MaxNameLen is how long the longest of the server's names is, 0 where that
	// is not known.
	MaxNameLen uint8
	// PublicName is what the outer hello asks for, as it stands there: who uses it
	// looks whether it is a name.
	PublicName string
	Extensions []ECHConfigExtension
}

// ECHConfigExtension is an extension of an ECHConfig. Its types have a registry
// of their own.
type ECHConfigExtension struct {
	Type uint16
	Body []byte
}

// ECHVersion is the version of RFC 9849: the code point of its extension.
const ECHVersion = uint16(ExtEncryptedClientHello)

const (
	// maxECHConfigs bounds the configs of one list. Lists hold one to three.
	maxECHConfigs = 64
	// maxECHSuites bounds the suites of one config: there are three AEADs and a
	// handful of KDFs.
	maxECHSuites = 256
	// maxECHExtensions bounds the extensions of one config; there are none yet.
	maxECHExtensions = 64
)

// Mandatory says whether c has an extension that nobody may skip who uses it.
// None is known here.
func (c *ECHConfig) Mandatory() bool {
	const mandatory = 0x8000
	return slices.ContainsFunc(c.Extensions, func(x ECHConfigExtension) bool { return x.Type&mandatory != 0 })
}

// ParseECHConfigList reads an ECHConfigList. What is of another version is
// skipped by its length, and comes back as Raw and Version.
func ParseECHConfigList(b []byte) ([]ECHConfig, error) {
	r := reader{b: b}
	list := reader{b: r.vec16()}
	if !r.ok() || list.empty() {
		return nil, errors.New("the list is empty, or does not end where its length says")
	}
	var all []ECHConfig
	for !list.empty() {
		if len(all) == maxECHConfigs {
			return nil, fmt.Errorf("the list has more than %d entries", maxECHConfigs)
		}
		var c ECHConfig
		if err := c.parse(&list); err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// ParseECHConfig reads one ECHConfig, and nothing behind it.
func ParseECHConfig(b []byte) (*ECHConfig, error) {
	r := reader{b: b}
	var c ECHConfig
	if err := c.parse(&r); err != nil {
		return nil, err
	}
	if !r.ok() {
		return nil, errors.New("there are bytes behind it")
	}
	return &c, nil
}

// parse takes c off the front of r.
func (c *ECHConfig) parse(r *reader) error {
	whole := r.b
	c.Version = r.u16()
	body := reader{b: r.vec16()}
	if r.bad {
		return errors.New("it is cut off")
	}
	c.Raw = whole[: len(whole)-len(r.b) : len(whole)-len(r.b)]
	if c.Version != ECHVersion {
		return nil
	}
	c.ID = body.u8()
	c.KEM = body.u16()
	c.PublicKey = body.vec16()
	suites := reader{b: body.vec16()}
	c.MaxNameLen = body.u8()
	c.PublicName = string(body.vec8())
	extensions := reader{b: body.vec16()}
	if !body.ok() {
		return errors.New("its parts do not add up to its length")
	}
	if len(c.PublicKey) == 0 || c.PublicName == "" {
		return errors.New("its public key or its public name is empty")
	}
	if n := len(suites.b); n == 0 || n%4 != 0 || n/4 > maxECHSuites {
		return errors.New("its list of cipher suites does not parse")
	}
	for !suites.empty() {
		c.Suites = append(c.Suites, ECHSuite{KDF: suites.u16(), AEAD: suites.u16()})
	}
	for !extensions.empty() {
		x := ECHConfigExtension{Type: extensions.u16(), Body: extensions.vec16()}
		if extensions.bad || len(c.Extensions) == maxECHExtensions {
			return errors.New("its extensions do not parse")
		}
		if slices.ContainsFunc(c.Extensions, func(o ECHConfigExtension) bool { return o.Type == x.Type }) {
			return fmt.Errorf("its extension %d is there twice", x.Type)
		}
		c.Extensions = append(c.Extensions, x)
	}
	return nil
}

// Append appends the config, made of its fields, to b.
func (c *ECHConfig) Append(b []byte) ([]byte, error) {
	w := writer{b: b}
	w.u16(c.Version)
	all := w.open(2)
	w.u8(c.ID)
	w.u16(c.KEM)
	w.vec16(c.PublicKey, "the public key")
	suites := w.open(2)
	for _, s := range c.Suites {
		w.u16(s.KDF)
		w.u16(s.AEAD)
	}
	w.close(suites, 2, "the list of cipher suites")
	w.u8(c.MaxNameLen)
	w.vec8([]byte(c.PublicName), "the public name")
	extensions := w.open(2)
	for _, x := range c.Extensions {
		w.u16(x.Type)
		w.vec16(x.Body, "an extension of an ECH config")
	}
	w.close(extensions, 2, "the extensions of an ECH config")
	w.close(all, 2, "an ECH config")
	return w.b, w.err
}

// AppendECHConfigList appends the list of configs, each as its Raw, to b.
func AppendECHConfigList(b []byte, configs ...[]byte) ([]byte, error) {
	w := writer{b: b}
	all := w.open(2)
	for _, c := range configs {
		w.raw(c)
	}
	w.close(all, 2, "the list of ECH configs")
	return w.b, w.err
}
