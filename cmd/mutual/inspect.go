package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/internal/explain"
)

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a certificate, key, request or revocation file holds",
		Long: `inspect tells what a file holds: certificates, a private key, a certificate
request (CSR), in PEM, DER or PKCS #7, a revocation list (CRL) or an OCSP response;
"-" reads standard input. It tells and does not judge: that is what verify is for. Of
a private key it shows the public half.

With --json: an object with kind (certificate, chain, csr, key, public key, crl,
ocsp), subject, names, serial, issuer, not_before, not_after, key, usages, ca, sha256. Of a file with
several certificates (kind chain) it tells the first, and all of them, in the file's
order and with the same keys, in "certificates". A private key beside them is in
"private_key". "key_sha256" is the hash of the public key: what a pin is. A list has
number, base (of a delta), scope, entries and revoked (the first thousand, each with
serial, revoked_at, reason), a response revoked with a status each.`,
		Example: `  mutual inspect orders.crt
  openssl s_client -connect example.com:443 </dev/null | mutual inspect -`,
		Args: exactly("a file"),
		RunE: func(_ *cobra.Command, args []string) error {
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
