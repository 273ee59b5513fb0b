package mtls

import "time"

func init() { handshakeTime = 2 * time.Minute }
