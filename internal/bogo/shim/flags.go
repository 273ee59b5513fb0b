package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// flag is one of the runner's flags. set is given its value, and "" where it has
// none.
type flag struct {
	name  string // without the dash
	value bool   // a value follows
	set   func(s *settings, value string) error
}

// flags is the table. Each file that knows of some puts them in.
var flags = map[string]flag{}

func register(list ...flag) {
	for _, f := range list {
		if _, twice := flags[f.name]; twice {
			panic("shim: the flag -" + f.name + " is registered twice")
		}
		flags[f.name] = f
	}
}

// errUnimplemented makes the runner count a test as not implemented.
var errUnimplemented = errors.New("not implemented")

func unimplemented(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUnimplemented}, args...)...)
}

// The forms that a flag can have.

// toggle is a flag that is there or not.
func toggle(name string, to func(s *settings) *bool) flag {
	return flag{name: name, set: func(s *settings, _ string) error {
		*to(s) = true
		return nil
	}}
}

// ignored is a flag that asks for what is the case anyway.
func ignored(name string) flag {
	return flag{name: name, set: func(*settings, string) error { return nil }}
}

func text(name string, to func(s *settings) *string) flag {
	return flag{name: name, value: true, set: func(s *settings, v string) error {
		*to(s) = v
		return nil
	}}
}

func number(name string, to func(s *settings) *int) flag {
	return flag{name: name, value: true, set: func(s *settings, v string) error {
		n, err := strconv.Atoi(v)
		*to(s) = n
		return err
	}}
}

// numbers is a flag that is given once for each element of a list.
func numbers[T ~uint8 | ~uint16](name string, to func(s *settings) *[]T) flag {
	return flag{name: name, value: true, set: func(s *settings, v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		*to(s) = append(*to(s), T(n))
		return err
	}}
}

// octets is a flag whose value is in base64.
func octets(name string, to func(s *settings) *[]byte) flag {
	return flag{name: name, value: true, set: func(s *settings, v string) error {
		b, err := base64.StdEncoding.DecodeString(v)
		*to(s) = b
		return err
	}}
}

// does is a flag without a value that does something; doesWith has one.
func does(name string, f func(s *settings)) flag {
	return flag{name: name, set: func(s *settings, _ string) error {
		f(s)
		return nil
	}}
}

func doesWith(name string, f func(s *settings, value string) error) flag {
	return flag{name: name, value: true, set: f}
}

// whole is what the command line asks for: the settings of the first connection,
// of those that follow, and of one that is tried again after early data was
// refused.
type whole struct{ initial, resumed, retried *settings }

// parse reads the command line.
func parse(args []string) (*whole, error) {
	w := &whole{initial: newSettings(), resumed: newSettings(), retried: newSettings()}
	for len(args) > 0 {
		name, ok := strings.CutPrefix(args[0], "-")
		if !ok {
			return nil, fmt.Errorf("a flag was expected, found %q", args[0])
		}
		args = args[1:]
		name, elsewhere := strings.CutPrefix(name, "on-handshaker-")
		name, _ = strings.CutPrefix(name, "on-shim-")
		to := []*settings{w.initial, w.resumed, w.retried}
		for i, prefix := range []string{"on-initial-", "on-resume-", "on-retry-"} {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				name, to = rest, to[i:i+1]
				break
			}
		}
		f, known := flags[name]
		if !known {
			return nil, unimplemented("the flag -%s", name)
		}
		value := ""
		if f.value {
			if len(args) == 0 {
				return nil, fmt.Errorf("the flag -%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if elsewhere {
			continue
		}
		for _, s := range to {
			before := len(s.configure)
			if err := f.set(s, value); err != nil {
				return nil, fmt.Errorf("-%s %q: %w", name, value, err)
			}
			if len(s.configure) > before {
				s.shape += name + " " + value + "\n"
			}
		}
	}
	return w, nil
}
