package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/pemfile"
	"github.com/mutual-tls/mutual/pki"
)

// ReadChain reads the certificates of all files, in order, in PEM or DER; "-" is
// stdin. Keys beside them are passed over. A certificate that does not parse is a
// *pki.ParseError, which pki.Refused makes a verdict of.
func ReadChain(files []string, stdin io.Reader) ([]*pki.Certificate, error) {
	var ders [][]byte
	for _, name := range files {
		some, err := readCertificates(name, stdin)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", printable(name), err)
		}
		ders = append(ders, some...)
	}
	return pki.ParseChain(ders)
}

func readCertificates(name string, stdin io.Reader) ([][]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			var p *os.PathError
			if errors.As(err, &p) {
				err = p.Err
			}
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxFile:
		return nil, fmt.Errorf("it is larger than %d bytes, expected a chain of certificates", maxFile)
	case len(b) > 0 && b[0] == 0x30:
		return fromDER(b)
	}
	var out [][]byte
	found := "no PEM at all"
	blocks, err := pemfile.Blocks(b, maxBlocks)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		if block.Type == "CERTIFICATE" || block.Type == "X509 CERTIFICATE" {
			out = append(out, block.Bytes)
		} else if isPKCS7(block) {
			some := fromPKCS7(block.Bytes)
			if len(some) == 0 {
				return nil, errPKCS7
			}
			out = append(out, some...)
		} else {
			found = "PEM " + identity.Quote(block.Type)
		}
		if len(out) > pki.MaxShown {
			return nil, fmt.Errorf("it holds more than %d certificates, expected a chain", pki.MaxShown)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("expected certificates, found %s", found)
	}
	return out, nil
}

// VerdictJSON is a verdict (of pki, or an Outcome) as JSON with its target in front.
func VerdictJSON(target string, verdict any) (json.RawMessage, error) {
	b, err := json.Marshal(verdict)
	if err != nil {
		return nil, err
	}
	t, err := json.Marshal(target)
	if err != nil {
		return nil, err
	}
	return append(append(append([]byte(`{"target":`), t...), ','), b[1:]...), nil
}

// fromDER is one certificate, or what a PKCS #7 file holds.
func fromDER(b []byte) ([][]byte, error) {
	switch shape(b) {
	case "PKCS #7":
		if out := fromPKCS7(b); len(out) > 0 {
			return out, nil
		}
		return nil, errPKCS7
	case "PKCS #12":
		return nil, errPKCS12
	}
	return [][]byte{b}, nil
}
