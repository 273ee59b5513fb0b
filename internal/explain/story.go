package explain

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/pki"
)

// Story is a handshake told in order. Its JSON is what `mutual explain --json`
// prints.
type Story struct {
	// Target is what was asked for, Address where it led; "" where nowhere.
	Target, Address string
	// Version, Suite, Group, Signature (the server's) and ALPN are what was
	// agreed, by the names of the registries; "" where it did not come to that.
	Version, Suite, Group, Signature, ALPN string
	// Peer is who was judged, nil where nobody was.
	Peer *Peer
	// ClientAuthenticated is whether the client showed a certificate and the
	// server, as far as is known, did not refuse it.
	ClientAuthenticated bool
	Steps               []Step
	// Known is what each side knows at the end; empty where it came to none.
	Known []Fact
	// Speaks is what the server speaks, where that is not TLS 1.3.
	Speaks  *Speech
	Verdict Outcome
}

// Peer is the other side as its certificate calls it.
type Peer struct {
	Name     string    `json:"name"`
	Names    []string  `json:"names"`
	SPIFFE   string    `json:"spiffe"`
	Serial   string    `json:"serial"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
	// Proven is whether the judgement let it stand.
	Proven bool `json:"proven"`
}

// Step is one message, and what came of it.
type Step struct {
	N int `json:"n"`
	// From is "client" or "server".
	From string `json:"from"`
	// Message is its name in the RFC, or "alert".
	Message string `json:"message"`
	// Encrypted is whether nobody on the way could read it.
	Encrypted bool `json:"encrypted"`
	// Words is what the message says and why it is there.
	Words string `json:"words"`
	Facts []Fact `json:"facts,omitempty"`
	// Unlike is where the usual picture is too simple; "" where it is right.
	Unlike string `json:"unlike,omitempty"`
	// Then is what the two sides made of it: keys, a judgement.
	Then []Passage `json:"then,omitempty"`
	// Fields are the message taken apart, Bytes the message as it was before
	// encryption.
	Fields []message.Field `json:"-"`
	Bytes  []byte          `json:"-"`
}

// Passage is a part of a step with a title of its own.
type Passage struct {
	Title string `json:"title"`
	Words string `json:"words,omitempty"`
	Facts []Fact `json:"facts,omitempty"`
	// After stands behind the facts.
	After  string `json:"after,omitempty"`
	Unlike string `json:"unlike,omitempty"`
}

// Fact is a detail with a label. A line break in Value is meant.
type Fact struct {
	Label string `json:"label"`
	Value string `json:"value"`
	Mark  Mark   `json:"mark,omitempty"`
}

// Mark says how a check ended.
type Mark string

// The marks. Most facts have none.
const (
	Passed Mark = "ok"
	Failed Mark = "failed"
	Unsure Mark = "unknown"
)

// Outcome is how it ended.
type Outcome struct {
	OK bool
	// Unreachable is whether there was not even a connection.
	Unreachable bool
	// Code, Fault, At, Reason and Mend tell why not, as mtls.Refusal does.
	Code, Fault, At, Reason, Mend string
	// Alert is the alert that ended it, "" where none did, and AlertFrom who
	// sent it.
	Alert, AlertFrom string
	// Admitted is what the server made of the client's certificate: "yes", "no",
	// "unknown", or "not asked"; "" where it did not come to that.
	Admitted string
	// Judgement is the path validation of the server's certificate, nil where
	// it did not come to that.
	Judgement *pki.Verdict
}

// MarshalJSON has ok, code, mend and paths as `mutual verify --json` has them.
func (o Outcome) MarshalJSON() ([]byte, error) {
	out := struct {
		OK        bool            `json:"ok"`
		Code      string          `json:"code"`
		Reason    string          `json:"reason,omitempty"`
		Mend      string          `json:"mend"`
		Fault     string          `json:"fault,omitempty"`
		At        string          `json:"at,omitempty"`
		Alert     string          `json:"alert,omitempty"`
		AlertFrom string          `json:"alert_from,omitempty"`
		Admitted  string          `json:"admitted,omitempty"`
		Paths     json.RawMessage `json:"paths"`
	}{o.OK, o.Code, o.Reason, o.Mend, o.Fault, o.At, o.Alert, o.AlertFrom, o.Admitted, json.RawMessage("[]")}
	if o.Judgement != nil {
		b, err := json.Marshal(o.Judgement)
		if err != nil {
			return nil, err
		}
		var whole struct {
			Paths json.RawMessage `json:"paths"`
		}
		if err := json.Unmarshal(b, &whole); err != nil {
			return nil, err
		}
		out.Paths = whole.Paths
	}
	return json.Marshal(out)
}

// MarshalJSON adds the fields, and the bytes in hex.
func (s Step) MarshalJSON() ([]byte, error) {
	type bare Step
	type field struct {
		Name  string `json:"name"`
		Value string `json:"value"`
		Bytes string `json:"bytes"`
	}
	out := struct {
		bare
		Fields []field `json:"fields"`
	}{bare: bare(s), Fields: []field{}}
	for _, f := range s.Fields {
		out.Fields = append(out.Fields, field{f.Name, f.Value, hex.EncodeToString(f.Bytes)})
	}
	return json.Marshal(out)
}

// MarshalJSON is the form that `mutual explain --json` prints.
func (s *Story) MarshalJSON() ([]byte, error) {
	steps := s.Steps
	if steps == nil {
		steps = []Step{}
	}
	return json.Marshal(struct {
		Target              string  `json:"target"`
		Address             string  `json:"address,omitempty"`
		Version             string  `json:"version"`
		Suite               string  `json:"suite"`
		Group               string  `json:"group"`
		Signature           string  `json:"signature"`
		ALPN                string  `json:"alpn"`
		Peer                *Peer   `json:"peer"`
		ClientAuthenticated bool    `json:"client_authenticated"`
		Steps               []Step  `json:"steps"`
		Known               []Fact  `json:"known,omitempty"`
		Speaks              *Speech `json:"speaks,omitempty"`
		Verdict             Outcome `json:"verdict"`
	}{s.Target, s.Address, s.Version, s.Suite, s.Group, s.Signature, s.ALPN, s.Peer, s.ClientAuthenticated, steps, s.Known, s.Speaks, s.Verdict})
}
