// Package alert names the alerts of TLS (RFC 8446, section 6; RFC 9846 adds
// general_error). An alert is all that a peer ever learns of a refusal: the
// reasons stay on our side. Which code goes with which alert is internal/code's.
package alert
