package ct

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/suite"
)

// State is what whoever made the list holds a log to be, when the list was made.
type State uint8

// The states, by their names in the list. Timestamps of logs that are pending or
// rejected never count; those of a retired log count where they stand in a
// certificate and are older than its retirement.
const (
	Pending State = iota
	Qualified
	Usable
	ReadOnly
	Retired
	Rejected
)

var states = [...]string{"pending", "qualified", "usable", "readonly", "retired", "rejected"}

// String is the state's name in the list.
func (s State) String() string {
	if int(s) < len(states) {
		return states[s]
	}
	return "unknown"
}

// current says whether the log makes promises that count.
func (s State) current() bool { return s == Qualified || s == Usable || s == ReadOnly }

// Log is a log that may have promised to publish certificates. It is not changed
// once it stands in Logs.
type Log struct {
	// Key is the log's public key, a SubjectPublicKeyInfo in DER: ECDSA on P-256, or
	// RSA of 2048 bits or more (RFC 6962, section 2.1.4).
	Key []byte
	// Description is what the log is called; Operator is who runs it now.
	Description, Operator string
	// Former are those who ran it before, the earliest first.
	Former []FormerOperator
	// State is what it is, since Since.
	State State
	Since time.Time
	// From and Until say which certificates the log takes, by the time at which they
	// end: from From, and before Until. Zero does not limit.
	From, Until time.Time

	id  [32]byte
	key *suite.PublicKey
}

// FormerOperator is who ran a log until then.
type FormerOperator struct {
	Name  string
	Until time.Time
}

// ID is the log's ID, the SHA-256 of its key.
func (l *Log) ID() [32]byte { return sha256.Sum256(l.Key) }

// operatorAt is who ran the log at a time.
func (l *Log) operatorAt(t time.Time) string {
	for _, f := range l.Former {
		if t.Before(f.Until) {
			return f.Name
		}
	}
	return l.Operator
}

// Logs is a list of logs. It is immutable and may be shared.
type Logs struct {
	made time.Time
	byID map[[32]byte]*Log
	sum  [sha256.Size]byte
}

// Made is when the list was made, zero where it does not say.
func (l *Logs) Made() time.Time { return l.made }

// Len is how many logs are on it.
func (l *Logs) Len() int { return len(l.byID) }

// Log is the log with an ID; nil where there is none.
func (l *Logs) Log(id [32]byte) *Log { return l.byID[id] }

// maxLogs bounds a list. All that there ever were are some three hundred.
const maxLogs = 5000

// NewLogs is a list of logs of one's own. The logs are copied.
func NewLogs(logs ...Log) (*Logs, error) { return newLogs(time.Time{}, logs) }

func newLogs(made time.Time, logs []Log) (*Logs, error) {
	if len(logs) > maxLogs {
		return nil, fmt.Errorf("the list has more than %d logs", maxLogs)
	}
	out := &Logs{made: made, byID: make(map[[32]byte]*Log, len(logs))}
	sum := sha256.New()
	for i := range logs {
		l := logs[i]
		what := identity.Quote(l.Description)
		key, err := suite.ParsePublicKey(l.Key)
		switch {
		case err != nil:
			return nil, fmt.Errorf("log %s: %w", what, err)
		case !fits(key):
			return nil, fmt.Errorf("log %s has a key of a kind that no log may sign with: expected ECDSA on P-256, or RSA of 2048 bits or more", what)
		case l.Operator == "":
			return nil, fmt.Errorf("log %s has no operator", what)
		case int(l.State) >= len(states):
			return nil, fmt.Errorf("log %s is in a state that there is not", what)
		case l.State == Retired && l.Since.IsZero():
			return nil, fmt.Errorf("log %s was retired, and nobody says when", what)
		}
		l.Key, l.key, l.id = bytes.Clone(l.Key), key, l.ID()
		l.Former = append([]FormerOperator(nil), l.Former...)
		if out.byID[l.id] != nil {
			return nil, fmt.Errorf("log %s is on the list twice", what)
		}
		out.byID[l.id] = &l
		fmt.Fprintf(sum, "%x %q %d %d %d %d\n", l.id, l.Operator, l.State, l.Since.UnixMilli(), l.From.UnixMilli(), l.Until.UnixMilli())
		for _, f := range l.Former {
			fmt.Fprintf(sum, "%q %d\n", f.Name, f.Until.UnixMilli())
		}
	}
	sum.Sum(out.sum[:0])
	return out, nil
}

func fits(key *suite.PublicKey) bool {
	switch k := key.Key.(type) {
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256()
	case *rsa.PublicKey:
		return !key.PSS && k.N.BitLen() >= 2048
	}
	return false
}

// AlgorithmIdentifiers, as certificates name what logs sign with.
var (
	ecdsaWithSHA256 = []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}
	rsaWithSHA256   = []byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00}
)

// signed says whether the log signed a timestamp about e.
func (l *Log) signed(t *Timestamp, e *entry) bool {
	algorithm := ecdsaWithSHA256
	if t.algorithm == sha256WithRSA {
		algorithm = rsaWithSHA256
	}
	b, err := t.signed(e)
	return err == nil && l.key.VerifyCertificate(algorithm, b, t.signature) == nil
}

// MaxLogList is the longest list that is read, in bytes. Google's of all logs that
// there ever were has some 300 KiB.
const MaxLogList = 4 << 20

// listed is the list's form in JSON, version 3 of its schema, as far as it is used.
type listed struct {
	Made      time.Time `json:"log_list_timestamp"`
	Operators []struct {
		Name  string      `json:"name"`
		Logs  []listedLog `json:"logs"`
		Tiled []listedLog `json:"tiled_logs"`
	} `json:"operators"`
}

type listedLog struct {
	Description string                     `json:"description"`
	ID          []byte                     `json:"log_id"`
	Key         []byte                     `json:"key"`
	State       map[string]json.RawMessage `json:"state"`
	Interval    struct {
		From  time.Time `json:"start_inclusive"`
		Until time.Time `json:"end_exclusive"`
	} `json:"temporal_interval"`
	Former []struct {
		Name string    `json:"name"`
		End  time.Time `json:"end_time"`
	} `json:"previous_operators"`
}

// ParseLogs reads a list of logs as Google and Apple publish theirs: JSON, version 3
// of its schema, logs of RFC 6962 and of the Static CT API alike. A log whose key
// does not fit its ID, or is of a kind that no log may sign with, is an error, for
// such a list was damaged. A log without a state is pending.
//
// The list's own signature, a file beside it, is not looked at: whoever gives the
// file vouches for it.
func ParseLogs(b []byte) (*Logs, error) {
	if len(b) > MaxLogList {
		return nil, fmt.Errorf("the list of logs has %d bytes; at most %d are taken", len(b), MaxLogList)
	}
	var l listed
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("not a list of logs in JSON: %s", identity.Quote(err.Error()))
	}
	var logs []Log
	for _, o := range l.Operators {
		for _, list := range [][]listedLog{o.Logs, o.Tiled} {
			for i := range list {
				one, err := list[i].log(o.Name)
				if err != nil {
					return nil, fmt.Errorf("log %s: %w", identity.Quote(list[i].Description), err)
				}
				logs = append(logs, one)
			}
		}
	}
	if len(logs) == 0 {
		return nil, errors.New("the list names no log; expected version 3 of the log list, an object with operators and their logs")
	}
	return newLogs(l.Made, logs)
}

func (j *listedLog) log(operator string) (Log, error) {
	l := Log{Key: j.Key, Description: j.Description, Operator: operator, From: j.Interval.From, Until: j.Interval.Until}
	if id := l.ID(); !bytes.Equal(j.ID, id[:]) {
		return l, errors.New("its ID is not the SHA-256 of its key")
	}
	for _, f := range j.Former {
		if n := len(l.Former); n > 0 && f.End.Before(l.Former[n-1].Until) {
			return l, errors.New("its former operators are not in the order of time")
		}
		l.Former = append(l.Former, FormerOperator{f.Name, f.End})
	}
	if len(j.State) > 1 {
		return l, errors.New("it is in several states at once")
	}
	for name, about := range j.State {
		known := false
		for s, word := range states {
			if word == name {
				l.State, known = State(s), true
			}
		}
		if !known {
			return l, fmt.Errorf("its state %s is not known", identity.Quote(name))
		}
		var since struct {
			At time.Time `json:"timestamp"`
		}
		if err := json.Unmarshal(about, &since); err != nil {
			return l, fmt.Errorf("its state does not parse: %s", identity.Quote(err.Error()))
		}
		l.Since = since.At
	}
	return l, nil
}
