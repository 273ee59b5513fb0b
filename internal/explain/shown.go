package explain

import (
	"bytes"
	"context"
	"encoding/pem"
	"time"

	"github.com/mutual-tls/mutual/mtls"
)

// InspectServer tells the chain that a server shows, as Inspect tells that of a file,
// whoever issued it. The server proves that it holds the leaf's key, and is judged by
// nothing else: so nothing is shown or sent to it, and the connection ends. Where it
// did not come so far there is no Thing, and the story says why.
func InspectServer(ctx context.Context, t Target) (*Thing, *Story, error) {
	var shown [][]byte
	t.defaults()
	t.Identity, t.Wait = nil, time.Nanosecond // what it makes of us is not the question
	t.instead = mtls.VerifierFunc(func(_ context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
		for _, der := range claim.Chain {
			shown = append(shown, bytes.Clone(der))
		}
		chain, err := claim.Certificates()
		if err != nil {
			return nil, err
		}
		return &mtls.Verdict{OK: true, Peer: mtls.Peer{Names: chain[0].Names(), Leaf: chain[0]}}, nil
	})
	s := Live(ctx, t)
	if len(shown) == 0 {
		return nil, s, nil
	}
	var b bytes.Buffer
	for _, der := range shown {
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, s, err
		}
	}
	told, err := Inspect(b.Bytes(), t.Clock())
	return told, s, err
}
