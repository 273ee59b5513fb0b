package code

import (
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
)

// Code is a stable code, "M0101". It is safe to store and to compare.
type Code string

// Entry is a code's page.
type Entry struct {
	Code Code
	// Title is a few words, lower case, fit for a list.
	Title string
	// What says in a few sentences what happened, for who runs the service.
	What string
	// Mend says what to do, with the command where there is one.
	Mend string
	// Alert is what we send when we refuse with this code; for M05, what the
	// peer sent. 0 (close_notify) where the code stands for no fatal alert.
	Alert alert.Alert
}

// Lookup finds a code's page. It is safe for concurrent use.
func Lookup(c Code) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(entries, c, func(e Entry, c Code) int {
		switch {
		case e.Code < c:
			return -1
		case e.Code > c:
			return 1
		}
		return 0
	})
	if !ok {
		return Entry{}, false
	}
	return entries[i], true
}

// All is every page, by code. The slice is the caller's.
func All() []Entry { return slices.Clone(entries) }

// ByAlert is the M05 code for a fatal alert that the peer sent.
func ByAlert(a alert.Alert) Code {
	switch a {
	case alert.UnexpectedMessage, alert.BadRecordMAC, alert.RecordOverflow, alert.DecodeError,
		alert.UnsupportedExtension:
		return RefusedProtocol
	}
	for i := range refusedUsEntries {
		if e := &refusedUsEntries[i]; e.Alert == a && e.Code != RefusedOther {
			return e.Code
		}
	}
	return RefusedOther
}

// refusedUsEntries are those of the M05, the last of which is for all others.
var refusedUsEntries = slices.Concat(refusedEntries[:len(refusedEntries)-1], echRefusedEntries, refusedEntries[len(refusedEntries)-1:])

// entries holds all pages in the order of their codes, which the tests check.
var entries = slices.Concat(certificateEntries, protocolEntries, echProtocolEntries, groundEntries, echGroundEntries,
	policyEntries, refusedUsEntries, oursEntries, echOursEntries, networkEntries, gatewayEntries, authorityEntries)
