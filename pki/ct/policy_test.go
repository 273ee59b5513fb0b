package ct

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
)

func policyOf(t testing.TB, rule Rule, logs ...Log) *Policy {
	t.Helper()
	list, err := NewLogs(logs...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPolicy(list, rule)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// logOf is a log as a list has it.
func logOf(l *mint.Log) Log {
	return Log{Key: l.SPKI(), Description: l.Description, Operator: l.Operator, State: Usable, Since: l.Since}
}

func evidence(root *mint.Authority, leaf *mint.Leaf) Evidence {
	return Evidence{Certificate: leaf.Cert.Raw, Issuer: root.Cert.RawSubjectPublicKeyInfo, NotBefore: leaf.Cert.NotBefore, NotAfter: leaf.Cert.NotAfter}
}

func TestTheRuleCountsLogsAndOperators(t *testing.T) {
	now := time.Now()
	root := mint.Root("Root")
	a, b, c, d := mint.NewLog("a", "One", ""), mint.NewLog("b", "Two", "rsa2048"), mint.NewLog("c", "One", ""), mint.NewLog("d", "Three", "")
	policy := policyOf(t, Chrome, logOf(a), logOf(b), logOf(c))
	for name, tc := range map[string]struct {
		logs []*mint.Log
		life time.Duration
		ok   bool
	}{
		"two of two operators":           {[]*mint.Log{a, b}, 24 * time.Hour, true},
		"two of one operator":            {[]*mint.Log{a, c}, 24 * time.Hour, false},
		"one":                            {[]*mint.Log{a}, 24 * time.Hour, false},
		"one log twice":                  {[]*mint.Log{a, a}, 24 * time.Hour, false},
		"one log twice, and another":     {[]*mint.Log{a, a, b}, 24 * time.Hour, true},
		"one that is not on the list":    {[]*mint.Log{a, d}, 24 * time.Hour, false},
		"two for 180 days":               {[]*mint.Log{a, b}, 180 * 24 * time.Hour, true},
		"two for longer":                 {[]*mint.Log{a, b}, 181 * 24 * time.Hour, false},
		"three of two for longer":        {[]*mint.Log{a, b, c}, 181 * 24 * time.Hour, true},
		"none":                           {nil, 24 * time.Hour, false},
		"more than are looked at before": {append(slices.Repeat([]*mint.Log{d}, MaxTimestamps-2), a, b), 24 * time.Hour, true},
	} {
		opts := []mint.Option{mint.Valid(now.Add(-time.Hour), now.Add(tc.life-time.Hour))}
		if tc.logs != nil {
			opts = append(opts, mint.Logged(now.Add(-2*time.Hour), tc.logs...), mint.Extension(pkix.Extension{Id: []int{1, 2, 3, 4}, Value: []byte{5, 0}}))
		}
		leaf := root.Leaf("web.example", opts...)
		r := policy.Judge(evidence(root, leaf), now)
		if r.OK != tc.ok || len(r.Timestamps) != len(tc.logs) {
			t.Errorf("%s: %v, %+v", name, r.OK, r)
		}
		if tc.ok && !r.From.Equal(now.Add(-2*time.Hour).Truncate(time.Millisecond)) {
			t.Errorf("%s: holds from %v", name, r.From)
		}
	}
}

func TestALogsStateDecides(t *testing.T) {
	now := time.Now()
	stamped := now.Add(-24 * time.Hour)
	root := mint.Root("Root")
	a, b := mint.NewLog("a", "One", ""), mint.NewLog("b", "Two", "")
	leaf := root.Leaf("web.example", mint.Logged(stamped, a, b))
	beside := root.Leaf("web.example")
	for name, tc := range map[string]struct {
		change         func(*Log) // of b
		inside, beside bool
		says           string
	}{
		"usable":                  {func(*Log) {}, true, true, ""},
		"qualified":               {func(l *Log) { l.State = Qualified }, true, true, ""},
		"read-only":               {func(l *Log) { l.State = ReadOnly }, true, true, ""},
		"pending":                 {func(l *Log) { l.State = Pending }, false, false, "its log is pending"},
		"rejected":                {func(l *Log) { l.State = Rejected }, false, false, "its log is rejected"},
		"retired since":           {func(l *Log) { l.State, l.Since = Retired, stamped.Add(time.Hour) }, true, false, "its log is retired"},
		"retired before":          {func(l *Log) { l.State, l.Since = Retired, stamped.Add(-time.Hour) }, false, false, "retired"},
		"for another time":        {func(l *Log) { l.From, l.Until = now.AddDate(1, 0, 0), now.AddDate(2, 0, 0) }, false, false, "ends then"},
		"for an earlier time":     {func(l *Log) { l.From, l.Until = now.AddDate(-1, 0, 0), leaf.Cert.NotAfter }, false, false, "ends then"},
		"for its time":            {func(l *Log) { l.From, l.Until = leaf.Cert.NotAfter, now.AddDate(2, 0, 0) }, true, false, ""},
		"of the other's operator": {func(l *Log) { l.Operator = "One" }, false, false, ""},
		"of the other's operator since": {func(l *Log) {
			l.Operator, l.Former = "One", []FormerOperator{{"Zero", stamped.Add(-time.Hour)}, {"Two", stamped.Add(time.Hour)}}
		}, true, true, ""},
		"of the other's operator already": {func(l *Log) { l.Former, l.Operator = []FormerOperator{{"Two", stamped.Add(-time.Hour)}}, "One" }, false, false, ""},
	} {
		l := logOf(b)
		tc.change(&l)
		policy := policyOf(t, Chrome, logOf(a), l)
		r := policy.Judge(evidence(root, leaf), now)
		if r.OK != tc.inside {
			t.Errorf("%s, inside: %+v", name, r)
		}
		if !tc.inside && !strings.Contains(r.Timestamps[1].Wrong, tc.says) {
			t.Errorf("%s: %q", name, r.Timestamps[1].Wrong)
		}
		if name == "for its time" {
			continue // the other certificate may end a second earlier
		}
		e := evidence(root, beside)
		e.Handshake, e.OCSP = [][]byte{a.Promise(beside.Cert.Raw, stamped)}, [][]byte{b.Promise(beside.Cert.Raw, stamped)}
		if r := policy.Judge(e, now); r.OK != tc.beside {
			t.Errorf("%s, beside: %+v", name, r)
		}
	}
	// All of retired logs: enough of them, and none that is in use.
	one, two := logOf(a), logOf(b)
	one.State, one.Since, two.State, two.Since = Retired, now, Retired, now
	if r := policyOf(t, Chrome, one, two).Judge(evidence(root, leaf), now); r.OK || r.Certificate.Logs != 2 {
		t.Errorf("two logs that are both retired: %+v", r)
	}
}

// The two ways do not add up: each has to be enough.
func TestTimestampsInAndBesideACertificateDoNotAddUp(t *testing.T) {
	now := time.Now()
	root := mint.Root("Root")
	a, b := mint.NewLog("a", "One", ""), mint.NewLog("b", "Two", "")
	leaf := root.Leaf("web.example", mint.Logged(now, a))
	policy := policyOf(t, Chrome, logOf(a), logOf(b))
	e := evidence(root, leaf)
	e.Handshake = [][]byte{b.Promise(leaf.Cert.Raw, now)}
	if r := policy.Judge(e, now.Add(time.Second)); r.OK || r.Certificate.Logs != 1 || r.Beside.Logs != 1 {
		t.Errorf("%+v", r)
	}
	later := now.Add(500 * time.Millisecond)
	e.OCSP = [][]byte{a.Promise(leaf.Cert.Raw, later)}
	if r := policy.Judge(e, now.Add(time.Second)); !r.OK || r.Beside.Logs != 2 || !r.From.Equal(later.Truncate(time.Millisecond)) {
		t.Errorf("those beside it alone are enough, from the later on: %+v", r)
	}
	if r := policy.Judge(e, now.Add(-time.Hour)); r.OK || r.Timestamps[0].Wrong != "it is from the future" {
		t.Errorf("before they were made: %+v", r)
	}
}

func TestATimestampIsTakenWholeOrNotAtAll(t *testing.T) {
	now := time.Now()
	root := mint.Root("Root")
	leaf := root.Leaf("web.example")
	for _, kind := range []string{"p256", "rsa2048"} {
		l := mint.NewLog("a", "One", kind)
		policy := policyOf(t, Rule{Timestamps: 1}, logOf(l))
		good := l.Promise(leaf.Cert.Raw, now.Add(-time.Hour))
		judge := func(b ...[]byte) *Result {
			e := evidence(root, leaf)
			e.Handshake = b
			return policy.Judge(e, now)
		}
		if r := judge(good); !r.OK {
			t.Fatalf("%s: %+v", kind, r)
		}
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			if r := judge(bad); r.OK || r.Timestamps[0].Wrong == "" {
				t.Errorf("%s: byte %d was changed, and nobody saw", kind, i)
			}
			if _, err := Parse(good[:i]); err == nil {
				t.Errorf("%s: %d of its bytes were taken", kind, i)
			}
		}
		if _, err := Parse(append(bytes.Clone(good), 0)); err == nil {
			t.Errorf("%s: a byte too many was taken", kind)
		}
		// One of another version is passed over.
		next := bytes.Clone(good)
		next[0] = 1
		if _, err := Parse(next); err != ErrVersion {
			t.Errorf("another version: %v", err)
		}
		if r := judge(next, good); !r.OK || r.Timestamps[0].Wrong != ErrVersion.Error() {
			t.Errorf("beside one of another version: %+v", r)
		}
		if r := judge(slices.Repeat([][]byte{next}, 3*MaxTimestamps)...); len(r.Timestamps) != MaxTimestamps {
			t.Errorf("%d timestamps were looked at", len(r.Timestamps))
		}
	}
}

func TestAWrongPolicyIsRefused(t *testing.T) {
	l := logOf(mint.NewLog("a", "One", ""))
	list, err := NewLogs(l)
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range map[string]Rule{
		"none": {}, "more operators than timestamps": {Timestamps: 1, Operators: 2}, "fewer for long": {Timestamps: 3, Long: 2}, "too many": {Timestamps: MaxTimestamps + 1},
	} {
		if _, err := NewPolicy(list, rule); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewPolicy(nil, Chrome); err == nil {
		t.Error("no list: taken")
	}
	for name, change := range map[string]func(*Log){
		"a curve that no log may use": func(l *Log) { l.Key = mint.NewLog("", "", "p384").SPKI() },
		"a short RSA key":             func(l *Log) { l.Key = mint.NewLog("", "", "rsa1024").SPKI() },
		"no key":                      func(l *Log) { l.Key = nil },
		"no operator":                 func(l *Log) { l.Operator = "" },
		"retired at no time":          func(l *Log) { l.State, l.Since = Retired, time.Time{} },
		"a state that there is not":   func(l *Log) { l.State = 99 },
	} {
		bad := l
		if change(&bad); func() error { _, err := NewLogs(bad); return err }() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewLogs(l, l); err == nil {
		t.Error("a log twice: taken")
	}
}

// Whatever an answer rests on shows in the policy's digest.
func TestAPolicysDigestTellsEveryPart(t *testing.T) {
	base := logOf(mint.NewLog("a", "One", ""))
	other := logOf(mint.NewLog("b", "Two", ""))
	sum := policyOf(t, Chrome, base, other).Sum()
	if sum != policyOf(t, Chrome, base, other).Sum() {
		t.Error("one policy has two digests")
	}
	for name, change := range map[string]func(*Log){
		"Key":      func(l *Log) { l.Key = mint.NewLog("", "", "").SPKI() },
		"Operator": func(l *Log) { l.Operator = "Three" },
		"Former":   func(l *Log) { l.Former = []FormerOperator{{"Zero", time.Now()}} },
		"State":    func(l *Log) { l.State = ReadOnly },
		"Since":    func(l *Log) { l.Since = l.Since.Add(time.Second) },
		"From":     func(l *Log) { l.From = time.Now() },
		"Until":    func(l *Log) { l.Until = time.Now() },
	} {
		changed := base
		if change(&changed); policyOf(t, Chrome, changed, other).Sum() == sum {
			t.Errorf("%s does not show", name)
		}
	}
	for _, rule := range []Rule{{Timestamps: 3, Long: 3, Operators: 2}, {Timestamps: 2, Long: 4, Operators: 2}, {Timestamps: 2, Long: 3, Operators: 1}} {
		if policyOf(t, rule, base, other).Sum() == sum {
			t.Errorf("%+v does not show", rule)
		}
	}
}

func TestALogListIsReadWhole(t *testing.T) {
	a, b := mint.NewLog("a's log", "One", ""), mint.NewLog("b's log", "Two", "rsa2048")
	b.State, b.From, b.Until = "retired", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	file := mint.LogList(a, b)
	logs, err := ParseLogs(file)
	if err != nil || logs.Len() != 2 || logs.Made().IsZero() {
		t.Fatalf("%v, %v", logs, err)
	}
	one := Log{Key: b.SPKI()}
	l := logs.Log(one.ID())
	if l == nil || l.Description != "b's log" || l.Operator != "Two" || l.State != Retired || !l.From.Equal(b.From) || !l.Until.Equal(b.Until) || l.Since.Unix() != b.Since.Unix() {
		t.Errorf("%+v", l)
	}
	// Tiled logs, former operators, and a log that has no state.
	edit := func(f func(operator, log map[string]any)) []byte {
		var whole map[string]any
		if err := json.Unmarshal(mint.LogList(a), &whole); err != nil {
			t.Fatal(err)
		}
		operator := whole["operators"].([]any)[0].(map[string]any)
		f(operator, operator["logs"].([]any)[0].(map[string]any))
		out, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	logs, err = ParseLogs(edit(func(operator, log map[string]any) {
		operator["tiled_logs"], operator["logs"] = operator["logs"], []any{}
		delete(log, "state")
		log["previous_operators"] = []any{map[string]any{"name": "Zero", "end_time": "2020-01-01T00:00:00Z"}}
	}))
	one = Log{Key: a.SPKI()}
	if l := logs.Log(one.ID()); err != nil || l == nil || l.State != Pending || l.operatorAt(time.Unix(0, 0)) != "Zero" || l.operatorAt(time.Now()) != "One" {
		t.Errorf("%+v, %v", l, err)
	}
	stamp := map[string]any{"timestamp": "2020-01-01T00:00:00Z"}
	for name, bad := range map[string][]byte{
		"nothing":         {},
		"no list":         []byte(`{"operators":[]}`),
		"another's ID":    edit(func(_, log map[string]any) { log["log_id"] = make([]byte, 32) }),
		"no ID":           edit(func(_, log map[string]any) { delete(log, "log_id") }),
		"no key":          edit(func(_, log map[string]any) { delete(log, "key") }),
		"no operator":     edit(func(operator, _ map[string]any) { operator["name"] = "" }),
		"a state unknown": edit(func(_, log map[string]any) { log["state"] = map[string]any{"tired": stamp} }),
		"two states":      edit(func(_, log map[string]any) { log["state"] = map[string]any{"usable": stamp, "retired": stamp} }),
		"retired at no time": edit(func(_, log map[string]any) {
			log["state"] = map[string]any{"retired": map[string]any{}}
		}),
		"a time that is none": edit(func(_, log map[string]any) {
			log["state"] = map[string]any{"usable": map[string]any{"timestamp": "tomorrow"}}
		}),
		"cut off": file[:len(file)/2],
		"long":    append(bytes.Repeat([]byte(" "), MaxLogList), file...),
	} {
		if _, err := ParseLogs(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestACertificateIsTakenApartExactly(t *testing.T) {
	root := mint.Root("Root")
	l := mint.NewLog("a", "One", "")
	leaf := root.Leaf("web.example", mint.Logged(time.Now(), l), mint.Extension(pkix.Extension{Id: []int{1, 2, 3, 4}, Value: []byte{5, 0}}))
	if list, err := Embedded(leaf.Cert.Raw); err != nil || len(list) != 1 {
		t.Fatalf("%d, %v", len(list), err)
	}
	if list, err := Embedded(root.DER); err != nil || list != nil {
		t.Errorf("a certificate without: %d, %v", len(list), err)
	}
	for i := range leaf.Cert.Raw {
		_, _, err := split(leaf.Cert.Raw[:i])
		if err == nil {
			t.Errorf("%d of its bytes were taken", i)
		}
	}
}

// tlv is a value in DER, shorter than 128 bytes.
func tlv(tag byte, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append([]byte{tag, byte(len(body))}, body...)
}

func TestOddListsInACertificate(t *testing.T) {
	oid := tlv(6, oidList)
	list := mint.Timestamps([]byte{9, 9})
	extension := func(value ...[]byte) []byte { return tlv(0x30, oid, tlv(4, value...)) }
	good := extension(tlv(4, list))
	other := tlv(0x30, tlv(6, []byte{42}), tlv(4))
	certificate := func(extensions ...[]byte) []byte {
		return tlv(0x30, tlv(0x30, tlv(2, []byte{7}), tlv(0xa3, tlv(0x30, extensions...))), tlv(0x30))
	}
	left := func(extensions ...[]byte) []byte {
		if extensions == nil {
			return tlv(0x30, tlv(2, []byte{7}))
		}
		return tlv(0x30, tlv(2, []byte{7}), tlv(0xa3, tlv(0x30, extensions...)))
	}
	for name, c := range map[string]struct{ in, want []byte }{
		"alone":    {certificate(good), left()},
		"first":    {certificate(good, other), left(other)},
		"last":     {certificate(other, good), left(other)},
		"between":  {certificate(other, good, other), left(other, other)},
		"critical": {certificate(tlv(0x30, oid, []byte{1, 1, 255}, tlv(4, tlv(4, list))), other), left(other)},
	} {
		if rest, list, err := split(c.in); err != nil || len(list) != 1 || !bytes.Equal(rest, c.want) {
			t.Errorf("%s: %x, %v; expected %x", name, rest, err, c.want)
		}
	}
	for name, in := range map[string][]byte{
		"twice":             certificate(good, other, good),
		"empty":             certificate(extension(tlv(4, []byte{0, 0}))),
		"not in octets":     certificate(extension(list)),
		"something after":   certificate(extension(tlv(4, list), []byte{0})),
		"cut off":           certificate(extension(tlv(4, list[:len(list)-1]))),
		"an empty one":      certificate(extension(tlv(4, []byte{0, 2, 0, 0}))),
		"too many":          certificate(extension(tlv(4, mint.Timestamps(slices.Repeat([][]byte{{9}}, MaxTimestamps+1)...)))),
		"more extensions":   tlv(0x30, tlv(0x30, tlv(0xa3, tlv(0x30, good), tlv(0x30))), tlv(0x30)),
		"more to be signed": tlv(0x30, tlv(0x30, tlv(0xa3, tlv(0x30, good)), tlv(2, []byte{1})), tlv(0x30)),
	} {
		if rest, _, err := split(in); err == nil || rest != nil {
			t.Errorf("%s: taken", name)
		}
		if r := policyOf(t, Rule{Timestamps: 1}, logOf(mint.NewLog("a", "One", ""))).Judge(Evidence{Certificate: in, Issuer: []byte{1}}, time.Now()); r.OK || r.Timestamps[0].Wrong == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
