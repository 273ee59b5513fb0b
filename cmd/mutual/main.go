// Command mutual puts mutual TLS between services, and tells what happened when
// it does not come to be.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// version is set by the linker; see the Makefile.
var version = ""

// The exit codes that scripts rely on.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitRefused
	exitUnreachable
)

// failure is an error with its exit code.
type failure struct {
	code int
	err  error
	// said is whether the user was told already.
	said bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func fail(code int, err error) error { return &failure{code: code, err: err} }

// told is a failure that the command has put into words itself.
func told(code int, err error) error { return &failure{code: code, err: err, said: true} }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	a := &app{out: os.Stdout, err: os.Stderr}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitDone
	}
	f := failureOf(err)
	if !f.said {
		a.complain(f)
	}
	return f.code
}

// failureOf finds the exit code of an error that says none: the system's, as where
// standard output can't be written, or cobra's: a flag, a command, an argument.
func failureOf(err error) *failure {
	var f *failure
	var system *fs.PathError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &system):
		return &failure{code: exitFailed, err: err}
	}
	return &failure{code: exitUsage, err: err}
}
