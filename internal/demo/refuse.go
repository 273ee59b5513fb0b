package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mutual-tls/mutual/internal/join"
)

// misled has ops join by a line whose address leads to another authority. It is
// to be refused by the root's hash, and the token is to stay a secret: the line
// itself works afterwards.
func (d *demo) misled(ctx context.Context) error {
	file := filepath.Join(d.keeper.dir, "ops.join")
	if _, err := d.runWords(ctx, 0, "token", "ops", "--service", "orders", "--out", file, "--data", d.machine("a")); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	line, err := join.Parse(string(b))
	if err != nil {
		return fmt.Errorf("the line that mutual token made can't be read: %w", err)
	}
	line.Authority = []string{d.stranger.address}
	args := []string{"connect", line.Text(), "--listen", "127.0.0.1:0", "--data", d.machine("ops")}
	said, err := d.runWords(ctx, 3, args...)
	if err != nil {
		return err
	}
	const code = "M0902"
	if !strings.Contains(said, code) {
		return fmt.Errorf("a line that leads to another authority was to be refused with %s, and this was said: %s", code, said)
	}
	said = strings.TrimPrefix(said[strings.LastIndexByte(said, '\n')+1:], "mutual: ")
	said, _, _ = strings.Cut(said, " ("+code)
	return d.tell(event{Event: "misled", Code: code, Answer: said, Exit: 3, Command: d.shown(args)})
}

// strangers are who is refused, with what has to be said of them.
var strangers = []struct {
	who, words   string
	here, there  string // the code of orders' gateway, and of the caller's
	alert, about string // what went over the wire, and a word that both reasons are about
}{
	{"", "a caller without a certificate", "M0402", "M0501", "certificate_required", "certificate"},
	{"stranger", "web, but by another authority", "M0103", "M0502", "unknown_ca", "authority"},
	{"expired", "web, but its certificate has ended", "M0101", "M0503", "certificate_expired", "expired"},
	{"ops", "ops, who joined by its line, and whom --allow does not name", "M0401", "M0508", "access_denied", "ops"},
}

// refuse lets each of them call through a connect of its own, and holds both
// ends to what they have to say.
func (d *demo) refuse(ctx context.Context) error {
	for _, s := range strangers {
		before := d.serve.said()
		caller, err := d.start(ctx, d.gatewayArgs(d.calling(s.who)))
		if err != nil {
			return err
		}
		if status, body, err := get(ctx, "http://"+caller.address+"/7"); err == nil {
			return fmt.Errorf("%s was to be refused, and got status %d with %q", s.words, status, body)
		}
		here, err := d.serve.refusal(ctx, before)
		if err != nil {
			return fmt.Errorf("%s called, and the gateway of orders: %w", s.words, err)
		}
		there, err := caller.refusal(ctx, 0)
		if err != nil {
			return fmt.Errorf("%s called, and its gateway: %w", s.words, err)
		}
		if err := caller.end(); err != nil {
			return err
		}
		for _, c := range []struct {
			end, code string
			sent      bool
			refusal   *entry
		}{{"the gateway of orders", s.here, true, here}, {"the caller", s.there, false, there}} {
			if r := c.refusal; r.Code != c.code || r.Alert != s.alert || r.Sent != c.sent || !strings.Contains(r.Reason, s.about) {
				return fmt.Errorf("%s called; expected %s to say %s (%s), found %s (%s): %s", s.words, c.end, c.code, s.alert, r.Code, r.Alert, r.Reason)
			}
		}
		if err := d.tell(event{Event: "refused", Caller: s.words, Here: here, There: there}); err != nil {
			return err
		}
	}
	return nil
}

// calling is a connect to orders as who.
func (d *demo) calling(who string) []string {
	if who == "ops" {
		return []string{"connect", "--join-file", filepath.Join(d.keeper.dir, "ops.join"), "--listen", "127.0.0.1:0", "--data", d.machine("ops")}
	}
	args := []string{"connect", "--to", d.serve.address, "--server-name", "orders", "--listen", "127.0.0.1:0", "--server-ca", d.file("pem", "ca.crt")}
	if who != "" {
		args = append(args, "--cert", d.file(who, "web.crt"), "--key", d.file(who, "web.key"))
	}
	return args
}

// file is a file of a folder that mutual issue wrote.
func (d *demo) file(folder, name string) string { return filepath.Join(d.keeper.dir, folder, name) }

// issue makes PEM files of our authority's, and, by an authority that nobody here
// trusts, of another's.
func (d *demo) issue(ctx context.Context) (err error) {
	args := []string{"ca", "--listen", "127.0.0.1:0", "--data", d.machine("c")}
	if d.stranger, err = d.start(ctx, append(slices.Clone(args), "--log", "json", "--announce", d.keeper.announcement())); err != nil {
		return err
	}
	if err := d.tell(event{Event: "started", Name: "another authority", Address: d.stranger.address, PID: d.stranger.cmd.Process.Pid, Command: d.shown(args)}); err != nil {
		return err
	}
	for _, p := range []struct {
		folder, what string
		more         []string
	}{
		{"pem", "web, for curl and openssl", []string{"--data", d.machine("a")}},
		{"expired", "web, for half a minute", []string{"--lifetime", lifetime.String(), "--data", d.machine("a")}},
		{"stranger", "web, says the other authority", []string{"--data", d.machine("c")}},
	} {
		args := append([]string{"issue", "web", "--out", d.machine(p.folder)}, p.more...)
		if _, err := d.runWords(ctx, 0, args...); err != nil {
			return err
		}
		if err := d.tell(event{Event: "issued", Dir: d.machine(p.folder), Answer: p.what, Command: d.shown(args)}); err != nil {
			return err
		}
	}
	return nil
}
