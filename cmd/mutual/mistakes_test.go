package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A variable that a script forgot to set must not turn one command into another.
func TestAnEmptyFlagIsAMistake(t *testing.T) {
	serve := []string{"serve", "orders", "--to", "127.0.0.1:1", "--allow", "web", "--listen", "127.0.0.1:0", "--dry-run"}
	for flag, args := range map[string][]string{
		"--cert":      append(serve, "--cert", "", "--key", "", "--client-ca", ""),
		"--data":      append(serve, "--data", ""),
		"--health":    append(serve, "--health="),
		"--advertise": append(serve, "--advertise", ""),
		"--allow":     {"serve", "orders", "--to", "127.0.0.1:1", "--allow", ""},
		"--ca":        {"verify", "x.crt", "--ca", ""},
	} {
		code, out, err := command(args...)
		if code != exitUsage || out != "" || !strings.Contains(err, "is empty") || !strings.Contains(err, "leave it out") || flag != "--cert" && !strings.Contains(err, flag+" ") {
			t.Errorf("%s: %d, %q, %q", flag, code, out, err)
		}
	}
}

// What cannot be the folder of data is not to be mended by a change of its rights.
func TestOtherPeoplesFoldersAreNotTakenForData(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{file: "is a file", dir: "holds other things"} {
		for _, args := range [][]string{
			{"serve", "orders", "--to", "127.0.0.1:1", "--allow", "web", "--listen", "127.0.0.1:0"},
			{"ca", "--listen", "127.0.0.1:0"},
		} {
			code, _, err := command(append(args, "--data", data)...)
			if code != exitFailed || !strings.Contains(err, want) || !strings.Contains(err, "--data") || strings.Contains(err, "chmod") {
				t.Errorf("%v on %s: %d, %q", args[0], data, code, err)
			}
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("there are %v, %v", all, err)
	}
}

func TestOneArgumentTooManyIsNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"mutual list takes no argument, and \"x\"":                {"list", "x"},
		"mutual issue takes the NAME to certify alone, and \"b\"": {"issue", "a", "b"},
	} {
		if code, _, err := command(args...); code != exitUsage || !strings.Contains(err, want) {
			t.Errorf("%v: %d, %q", args, code, err)
		}
	}
}

// Standard output that can't be written is a failure, and not a mistake of the user's.
func TestAnOutputThatCannotBeWrittenFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here")
	}
	defer full.Close()
	a := &app{out: full, err: io.Discard}
	root := a.root()
	root.SetArgs([]string{"version"})
	err = root.ExecuteContext(context.Background())
	if err == nil || failureOf(err).code != exitFailed {
		t.Errorf("it ended with %v", err)
	}
}
