package interop

import (
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// Bun carries BoringSSL, which has no id-RSASSA-PSS keys and whose suites can't be
// chosen. So the choice is made on our side.
func bun(t *testing.T) *script {
	t.Helper()
	s := newScript(t, "bun", "tls.mjs")
	s.groups = []mtls.Group{suite.X25519MLKEM768, suite.X25519, suite.P256, suite.P384}
	s.keys = []string{"p384", "p521", "ed25519", "rsa2048"}
	s.alert = func(name string) string { return "_ALERT_" + strings.ToUpper(name) }
	return s
}

func TestBunCalls(t *testing.T)              { bun(t).callsEveryWay(t) }
func TestBunServes(t *testing.T)             { bun(t).servesEveryWay(t) }
func TestBunIsRefusedAsAClient(t *testing.T) { bun(t).isRefusedAsAClient(t) }
func TestBunIsRefusedAsAServer(t *testing.T) { bun(t).isRefusedAsAServer(t) }
func TestBunRefusesOurClient(t *testing.T)   { bun(t).refusesUsAsAClient(t) }
func TestBunRefusesOurServer(t *testing.T)   { bun(t).refusesUsAsAServer(t) }
func TestBunAgreesOnAProtocol(t *testing.T)  { bun(t).agreesOnAProtocol(t) }
func TestBunOfTLS12IsRefused(t *testing.T)   { bun(t).ofOldVersionsIsRefused(t) }

func TestBunAsksAgainForAHybrid(t *testing.T) {
	bun(t).asksAgain(t, suite.SecP384r1MLKEM1024, suite.X25519MLKEM768)
}

func TestBunIsAskedAgain(t *testing.T) { bun(t).isAskedAgain(t, "", suite.P384) }
