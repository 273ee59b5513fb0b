package wycheproof

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// hexBytes are written in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// group has the fields of all the files that are used here; what a file does not
// have stays empty.
type group struct {
	KeySize, IVSize, TagSize, SLen int
	Sha, MgfSha                    string
	PublicKeyDer                   hexBytes
	Tests                          []vector
}

type vector struct {
	TcID    int
	Comment string
	Result  string // valid, invalid, acceptable
	Flags   []string

	Public, Private, Shared hexBytes // key agreement
	Msg, Sig                hexBytes // signatures
	Key, IV, AAD, Ct, Tag   hexBytes // AEAD, Msg included
	Seed, Ek, C, M          hexBytes // ML-KEM
	K                       hexBytes
}

// each calls f for every vector of a file, and fails on a file that has fewer than
// it should: a test that reads nothing passes.
func each(t *testing.T, file string, least int, f func(t *testing.T, g *group, v *vector)) {
	t.Helper()
	b, err := fs.ReadFile(wycheproof.TestVectors, file+"_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ TestGroups []group }
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	n := 0
	for i := range all.TestGroups {
		g := &all.TestGroups[i]
		for j := range g.Tests {
			v := &g.Tests[j]
			n++
			t.Run(fmt.Sprintf("%s/%d", file, v.TcID), func(t *testing.T) {
				defer func() {
					if t.Failed() {
						t.Logf("%s, %v: %s", v.Result, v.Flags, v.Comment)
					}
				}()
				f(t, g, v)
			})
		}
	}
	if n < least {
		t.Errorf("%s has %d vectors, expected at least %d", file, n, least)
	}
}
