package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mutual-tls/mutual/internal/api"
)

// certificates are all that the authority ever issued to others.
func (d *demo) certificates(ctx context.Context) ([]api.Certificate, error) {
	var all []api.Certificate
	err := d.runJSON(ctx, &all, "list", "--all", "--data", d.machine("a"))
	return slices.DeleteFunc(all, func(c api.Certificate) bool { return c.Lineage == "" }), err
}

// list tells who is enrolled, and holds the record to what was seen.
func (d *demo) list(ctx context.Context) error {
	all, err := d.certificates(ctx)
	if err != nil {
		return err
	}
	var heads []api.Certificate
	valid := make(map[string]bool)
	for _, c := range all {
		if c.Head {
			heads = append(heads, c)
			valid[c.Name] = valid[c.Name] || c.State == "valid"
		}
	}
	if !valid["orders"] || !valid["web"] || !valid["ops"] {
		return fmt.Errorf("mutual list was to have valid certificates of orders, web and ops, and has %v", heads)
	}
	if former := len(all) - len(heads); former < d.rotations {
		return fmt.Errorf("%d new certificates were taken, and the authority has a record of %d", d.rotations, former)
	}
	return d.tell(event{Event: "list", Certificates: heads, Rotations: len(all) - len(heads), Command: d.shown([]string{"list", "--data", d.machine("a")})})
}

// handshake is what mutual explain --json says, as far as the short form goes.
type handshake struct {
	Version   string `json:"version"`
	Suite     string `json:"suite"`
	Group     string `json:"group"`
	Signature string `json:"signature"`
	Peer      struct {
		Name     string `json:"name"`
		SPIFFE   string `json:"spiffe"`
		NotAfter string `json:"not_after"`
		Proven   bool   `json:"proven"`
	} `json:"peer"`
	Client bool     `json:"client_authenticated"`
	Steps  []flight `json:"steps"`
}

// flight is a message, or, in the short form, those of one side in a row.
type flight struct {
	From     string   `json:"from"`
	Message  string   `json:"message,omitempty"`
	Messages []string `json:"messages,omitempty"`
}

// explain has a handshake of now told, by somebody who shows a PEM file.
func (d *demo) explain(ctx context.Context) error {
	h := &handshake{}
	args := []string{"explain", d.serve.address, "--server-name", "orders", "--server-ca", d.file("pem", "ca.crt"), "--cert", d.file("pem", "web.crt"), "--key", d.file("pem", "web.key")}
	if err := d.runJSON(ctx, h, args...); err != nil {
		return err
	}
	switch {
	case h.Version != "TLS 1.3":
		return fmt.Errorf("the handshake was to be TLS 1.3, and is %q", h.Version)
	case !h.Peer.Proven || h.Peer.Name != "orders":
		return fmt.Errorf("the server was to prove that it is orders, and said %q", h.Peer.Name)
	case !h.Client:
		return errors.New("the server was to ask for web's certificate and to take it, and did not")
	}
	var rows []flight
	for _, s := range h.Steps {
		if last := len(rows) - 1; last >= 0 && rows[last].From == s.From {
			rows[last].Messages = append(rows[last].Messages, s.Message)
			continue
		}
		rows = append(rows, flight{From: s.From, Messages: []string{s.Message}})
	}
	h.Steps = rows
	return d.tell(event{Event: "handshake", Handshake: h, Command: d.shown(args)})
}

// try says how curl and openssl get in, and how they do not.
func (d *demo) try(context.Context) error {
	at, ca := d.serve.address, d.file("pem", "ca.crt")
	_, port, _ := strings.Cut(at, ":")
	own := []string{"--cert " + quote(d.file("pem", "web.crt")), "--key " + quote(d.file("pem", "web.key"))}
	curl := []string{"curl --resolve orders:" + port + ":127.0.0.1 --cacert " + quote(ca)}
	url := "https://orders:" + port + "/7"
	for _, e := range []event{
		{With: "curl", Words: "curl, as web:", Line: append(append(curl[:1:1], own...), url)},
		{With: "openssl", Words: "openssl, as web:", Line: []string{
			`printf 'GET /7 HTTP/1.0\r\n\r\n' | openssl s_client -quiet -tls1_3`,
			"-connect " + at + " -servername orders",
			"-verify_hostname orders -verify_return_error -CAfile " + quote(ca),
			// It takes the leaf alone from -cert.
			"-cert " + quote(d.file("pem", "web.crt")) + " -cert_chain " + quote(d.file("pem", "web.crt")),
			"-key " + quote(d.file("pem", "web.key"))}},
		{With: "explain", Words: "the whole handshake, told:", Line: []string{
			quote(d.Program) + " explain " + at + " --server-name orders --server-ca " + quote(ca), own[0], own[1]}},
		{With: "curl", Refused: true, Words: "curl without a certificate, which is refused:", Line: append(curl[:1:1], url)},
	} {
		e.Event = "try"
		if err := d.tell(e); err != nil {
			return err
		}
	}
	return nil
}
