package handshake

import (
	"github.com/mutual-tls/mutual/internal/message"
)

// record_size_limit (RFC 8449), on both sides: each says how long a protected
// record it takes, content, type and padding together.

// maxRecordLimit is the limit of TLS 1.3 itself; a peer that names more speaks of
// versions to come (RFC 8449, section 4).
const maxRecordLimit = 1<<14 + 1

// limitHello offers our limit.
func (c *Client) limitHello() { c.hello.RecordSizeLimit = c.cfg.RecordSizeLimit }

// limitRecords answers the client's limit with ours, and holds what we send to
// the client's: before the first protected record.
func (s *Server) limitRecords(ee *message.EncryptedExtensions) {
	if s.cfg.RecordSizeLimit == 0 || s.hello.RecordSizeLimit == 0 {
		return
	}
	ee.RecordSizeLimit = s.cfg.RecordSizeLimit
	s.limits(s.hello.RecordSizeLimit)
}

// takeRecordLimit takes the server's limit, where it named one.
func (c *Client) takeRecordLimit(m *message.EncryptedExtensions) {
	if m.RecordSizeLimit != 0 {
		c.limits(m.RecordSizeLimit)
	}
}

func (c *core) limits(theirs uint16) {
	c.result.PeerRecordLimit = min(int(theirs), maxRecordLimit)
	c.emit(Event{Kind: RecordLimits, ReadLimit: int(c.cfg.RecordSizeLimit), WriteLimit: c.result.PeerRecordLimit})
}
