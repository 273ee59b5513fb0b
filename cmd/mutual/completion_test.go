package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCompletionsAreThere: each shell's is its own, and one that is installed
// here can read it.
func TestCompletionsAreThere(t *testing.T) {
	for shell, want := range map[string]string{
		"bash": "complete -o default -F __start_mutual mutual", "zsh": "#compdef mutual",
		"fish": "complete -c mutual", "powershell": "Register-ArgumentCompleter -CommandName 'mutual'",
	} {
		code, out, err := command("completion", shell)
		if code != exitDone || err != "" || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d, %q; the script lacks %q", shell, code, err, want)
		}
		if path, missing := exec.LookPath(shell); missing == nil && shell != "powershell" {
			check := exec.Command(path, "-n")
			check.Stdin = strings.NewReader(out)
			if said, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s can't read its script: %v: %s", shell, err, said)
			}
		}
	}
	if code, out, err := command("completion", "tcsh"); code != exitUsage || out != "" || !strings.Contains(err, "bash, zsh, fish, powershell") {
		t.Errorf("an unknown shell: exit code %d, %q, %q", code, out, err)
	}
	if code, _, err := command("completion"); code != exitUsage || !strings.Contains(err, "bash, zsh, fish, powershell") {
		t.Errorf("no shell: exit code %d, %q", code, err)
	}
}

// TestWhatIsHalfTypedIsCompleted asks as the shells' scripts do.
func TestWhatIsHalfTypedIsCompleted(t *testing.T) {
	for typed, want := range map[string]string{
		"comp":                      "completion",
		"serve --client-":           "--client-auth",
		"serve --client-auth ":      "require",
		"serve --log ":              "json",
		"verify x --purpose ":       "client",
		"completion p":              "powershell",
		"connect --to x --server-n": "--server-name",
	} {
		_, out, _ := command(append([]string{"__complete"}, strings.Split(typed, " ")...)...)
		if !strings.Contains(out, want) {
			t.Errorf("%q is completed by %q, which lacks %q", typed, out, want)
		}
	}
	if _, out, _ := command("__complete", "demo", ""); strings.Contains(out, "keep") {
		t.Errorf("what is hidden is offered: %q", out)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	_, out, _ := command("--help")
	for _, name := range []string{"serve", "connect", "explain", "inspect", "verify", "demo", "completion", "version"} {
		if !strings.Contains(out, "\n  "+name+" ") {
			t.Errorf("the help lacks %s:\n%s", name, out)
		}
	}
}
