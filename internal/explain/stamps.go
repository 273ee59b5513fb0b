package explain

import (
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/pki/ct"
)

// LogStamp is a timestamp in a certificate, by which a log has promised to publish
// it (RFC 6962, section 3.3). Nobody has verified it: `mutual verify --ct-logs` does.
type LogStamp struct {
	// Log is the log's ID, the SHA-256 of its key in hex; At is when. Both are left
	// out where the timestamp is of a version that is not known.
	Log string     `json:"log,omitempty"`
	At  *time.Time `json:"at,omitempty"`
	// Odd says what is wrong with it.
	Odd string `json:"odd,omitempty"`
}

// stampsIn are the timestamps in a certificate, and what is odd about all of them.
func stampsIn(certificate []byte) (stamps []LogStamp, odd string) {
	list, err := ct.Embedded(certificate)
	if err != nil {
		return nil, "its list of timestamps does not parse"
	}
	for _, b := range list {
		t, err := ct.Parse(b)
		switch {
		case errors.Is(err, ct.ErrVersion):
			stamps = append(stamps, LogStamp{Odd: "of a version that is not known"})
		case err != nil:
			stamps = append(stamps, LogStamp{Odd: err.Error()})
		default:
			stamps = append(stamps, LogStamp{Log: hex.EncodeToString(t.Log[:]), At: &t.At})
		}
	}
	return stamps, ""
}

// stampsWords has a line for each.
func stampsWords(stamps []LogStamp) string {
	var lines []string
	for _, s := range stamps {
		if s.At == nil {
			lines = append(lines, "one that does not count: "+plain(s.Odd))
			continue
		}
		lines = append(lines, "log "+s.Log[:16]+"... at "+s.At.UTC().Format(time.RFC3339))
	}
	return strings.Join(lines, "\n")
}
