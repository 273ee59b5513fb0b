package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/internal/explain"
)

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE | inspect HOST:PORT",
		Short: "Say what a certificate, key, request or revocation file holds, or a server shows",
		Long: `inspect tells what a file holds: certificates, a private key, a certificate
request (CSR), in PEM, DER or PKCS #7, a revocation list (CRL) or an OCSP response;
"-" reads standard input. It tells and does not judge: that is what verify is for. Of
a private key it shows the public half.

What looks like HOST:PORT is a server, unless there is a file of that name: it tells
the chain that the server shows, whoever issued it, and shows the server nothing.

With --json: an object with kind (certificate, chain, csr, key, public key, crl,
ocsp), subject, names, serial, issuer, not_before, not_after, key, usages, ca, sha256. Of a file with
several certificates (kind chain) it tells the first, and all of them, in the file's
order and with the same keys, in "certificates". A private key beside them is in
"private_key". "key_sha256" is the hash of the public key: what a pin is. A list has
number, base (of a delta), scope, entries and revoked (the first thousand, each with
serial, revoked_at, reason), a response revoked with a status each.`,
		Example: `  mutual inspect orders.crt
  mutual inspect orders.example:8443
  openssl s_client -connect example.com:443 </dev/null | mutual inspect -`,
		Args: exactly("a file or HOST:PORT"),
		RunE: func(c *cobra.Command, args []string) error {
			if isServer(args[0]) && !strings.HasPrefix(args[0], "unix:") {
				return a.inspectServer(c.Context(), args[0])
			}
			t, err := explain.InspectFile(args[0], os.Stdin, now())
			if err != nil {
				return fail(exitFailed, err)
			}
			if a.json {
				return explain.WriteJSON(a.out, t)
			}
			name := args[0]
			if name == "-" {
				name = "standard input"
			}
			return t.Write(a.out, name, now(), a.look())
		},
	}
}

func (a *app) inspectServer(ctx context.Context, address string) error {
	t, story, err := explain.InspectServer(ctx, explain.Target{Address: address, Clock: now})
	switch {
	case err != nil:
		return fail(exitFailed, err)
	case t == nil:
		return a.ended(address, story)
	case a.json:
		return explain.WriteJSON(a.out, t)
	}
	return t.Write(a.out, address, now(), a.look())
}
