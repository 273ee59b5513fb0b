// Package live holds the connections that stand, by the end of what admitted
// them, and tells each when its end has come.
//
// One timer serves a set. It never sleeps long, and looks at the wall clock when
// it wakes: a machine that was suspended, or whose clock was set, is late by
// seconds and not by the length of its sleep. It knows nothing of connections: what
// stands is a Member, and what to do at its end is the member's.
package live
