package mutual

import "time"

// Clock is the time that an identity lives by.
func Clock(now func() time.Time) Option { return func(o *options) { o.Clock = now } }
