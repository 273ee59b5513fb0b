package explain

import (
	"crypto/x509/pkix"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
)

func TestInspectListsTheTimestampsInACertificate(t *testing.T) {
	root := mint.Root("Example Root")
	at := noon.Add(-1500)
	l := root.Leaf("orders", valid, mint.Logged(at, mint.NewLog("a", "One", ""), mint.NewLog("b", "Two", "")))
	th := must[*Thing](t)(Inspect(l.CertPEM(), noon))
	if len(th.Timestamps) != 2 || len(th.Timestamps[0].Log) != 64 || !th.Timestamps[0].At.Equal(at.Truncate(1e6)) {
		t.Errorf("%+v", th.Timestamps)
	}
	if words := written(t, th, "orders.pem"); !strings.Contains(words, "log "+th.Timestamps[1].Log[:16]+"... at ") {
		t.Error(words)
	}
	if j := asJSON(t, th); len(j["timestamps"].([]any)) != 2 {
		t.Error(j["timestamps"])
	}
	stamps := func(list ...[]byte) mint.Option {
		value := append([]byte{4, 0}, mint.Timestamps(list...)...)
		value[1] = byte(len(value) - 2)
		return mint.Extension(pkix.Extension{Id: []int{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value})
	}
	for name, c := range map[string]struct {
		option mint.Option
		says   string
	}{
		"another version": {stamps([]byte{1, 2, 3}), "of a version that is not known"},
		"no sense":        {stamps([]byte{0, 2, 3}), "does not parse"},
		"no list":         {stamps(), "its list of timestamps does not parse"},
	} {
		th := must[*Thing](t)(Inspect(root.Leaf("orders", valid, c.option).CertPEM(), noon))
		if words := written(t, th, "orders.pem"); !strings.Contains(strings.Join(strings.Fields(words), " "), c.says) {
			t.Errorf("%s: %s", name, words)
		}
	}
}
