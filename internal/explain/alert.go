package explain

import (
	"fmt"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
)

// describeAlert takes an alert apart (RFC 8446, section 6). All of ours are fatal.
func describeAlert(a alert.Alert) []message.Field {
	return []message.Field{
		{Name: "level", Value: "fatal (2)", Bytes: []byte{2}},
		{Name: "description", Value: fmt.Sprintf("%s (%d)", a, uint8(a)), Bytes: []byte{byte(a)}},
	}
}
