package interop

import (
	"fmt"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// Node 26 carries OpenSSL 3.5, which has the hybrid groups. Its names for the
// others are OpenSSL's.
func node(t *testing.T) *script {
	t.Helper()
	s := newScript(t, "node26", "tls.mjs")
	s.groups = []mtls.Group{suite.X25519MLKEM768, suite.X25519, suite.P256, suite.P384, suite.SecP256r1MLKEM768, suite.SecP384r1MLKEM1024}
	s.keys = []string{"p384", "p521", "ed25519", "rsa2048", "rsapss2048", "mldsa44", "mldsa65", "mldsa87"}
	s.choose = func(g mtls.Group) string {
		if name := opensslGroup[g]; name != "" {
			return name
		}
		return g.String()
	}
	s.alert = func(name string) string {
		number := alertNumber[name]
		if name == "no_application_protocol" {
			number = 120
		}
		return fmt.Sprintf("SSL alert number %d", number)
	}
	return s
}

func TestNodeCalls(t *testing.T)              { node(t).callsEveryWay(t) }
func TestNodeServes(t *testing.T)             { node(t).servesEveryWay(t) }
func TestNodeIsRefusedAsAClient(t *testing.T) { node(t).isRefusedAsAClient(t) }
func TestNodeIsRefusedAsAServer(t *testing.T) { node(t).isRefusedAsAServer(t) }
func TestNodeRefusesOurClient(t *testing.T)   { node(t).refusesUsAsAClient(t) }
func TestNodeRefusesOurServer(t *testing.T)   { node(t).refusesUsAsAServer(t) }
func TestNodeAgreesOnAProtocol(t *testing.T)  { node(t).agreesOnAProtocol(t) }
func TestNodeOfTLS12IsRefused(t *testing.T)   { node(t).ofOldVersionsIsRefused(t) }

func TestNodeAsksAgainForAHybrid(t *testing.T) {
	for _, g := range []mtls.Group{suite.X25519MLKEM768, suite.SecP256r1MLKEM768, suite.SecP384r1MLKEM1024} {
		t.Run(g.String(), func(t *testing.T) { node(t).asksAgain(t, suite.X25519, g) })
	}
}

func TestNodeIsAskedAgainForAHybrid(t *testing.T) {
	for _, g := range []mtls.Group{suite.X25519MLKEM768, suite.SecP256r1MLKEM768, suite.SecP384r1MLKEM1024} {
		t.Run(g.String(), func(t *testing.T) { node(t).isAskedAgain(t, "X25519:"+g.String(), g) })
	}
}
