package mint

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"
)

// Log is a log of Certificate Transparency (RFC 6962) that promises whatever it is
// asked, and keeps nothing.
type Log struct {
	Key                   crypto.Signer
	Description, Operator string
	// State is "usable" unless changed, since Since; From and Until limit when the
	// certificates end that it takes.
	State              string
	Since, From, Until time.Time
}

// NewLog makes a log with a key of a kind ("p256", "rsa2048"; "" is the first).
func NewLog(description, operator, kind string) *Log {
	if kind == "" {
		kind = "p256"
	}
	return &Log{Key: newKey(kind), Description: description, Operator: operator, State: "usable", Since: time.Now().AddDate(-1, 0, 0)}
}

// SPKI is the log's public key.
func (l *Log) SPKI() []byte {
	b, err := x509.MarshalPKIXPublicKey(l.Key.Public())
	if err != nil {
		panic(err)
	}
	return b
}

// Promise is a timestamp about a certificate.
func (l *Log) Promise(certificate []byte, at time.Time) []byte {
	return l.promise(append([]byte{0, 0}, long(certificate)...), at)
}

// promise signs about an entry, its type first, with an extension that means nothing.
func (l *Log) promise(entry []byte, at time.Time) []byte {
	stamp := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	extensions := []byte{0, 2, 7, 7}
	sum := sha256.Sum256(slices.Concat([]byte{0, 0}, stamp, entry, extensions))
	signature, err := l.Key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	algorithm := []byte{4, 3}
	if _, isRSA := l.Key.(interface{ Size() int }); isRSA {
		algorithm = []byte{4, 1}
	}
	id := sha256.Sum256(l.SPKI())
	return slices.Concat([]byte{0}, id[:], stamp, extensions, algorithm, short(signature))
}

func short(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }

func long(b []byte) []byte {
	return append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

// Timestamps puts lists of timestamps into one SignedCertificateTimestampList.
func Timestamps(list ...[]byte) []byte {
	var all []byte
	for _, one := range list {
		all = append(all, short(one)...)
	}
	return short(all)
}

// Logged has a certificate bear the timestamps of logs.
func Logged(at time.Time, logs ...*Log) Option {
	return func(t *template) { t.logs, t.loggedAt = logs, at }
}

var idTimestamps = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// logged puts the timestamps into the template, once it is known what is signed.
func (t *template) logged(issuer *x509.Certificate, key crypto.Signer) {
	logs := t.logs
	t.logs = nil
	before := parse(t.sign(issuer, key))
	by := issuer
	if len(by.RawSubjectPublicKeyInfo) == 0 { // it signs itself
		by = before
	}
	sum := sha256.Sum256(by.RawSubjectPublicKeyInfo)
	entry := slices.Concat([]byte{0, 1}, sum[:], long(before.RawTBSCertificate))
	var list [][]byte
	for _, l := range logs {
		list = append(list, l.promise(entry, t.loggedAt))
	}
	value, err := asn1.Marshal(Timestamps(list...))
	if err != nil {
		panic(err)
	}
	// In front of the others: where one follows, it has to be kept in its place.
	t.ExtraExtensions = slices.Insert(slices.Clone(t.ExtraExtensions), 0, pkix.Extension{Id: idTimestamps, Value: value})
}

// LogList is a list of logs, as browsers' makers publish theirs.
func LogList(logs ...*Log) []byte {
	type object = map[string]any
	var operators []any
	for _, l := range logs {
		id := sha256.Sum256(l.SPKI())
		one := object{
			"description": l.Description, "log_id": id[:], "key": l.SPKI(), "url": "https://log.example/", "mmd": 86400,
			"state": object{l.State: object{"timestamp": l.Since.UTC().Format(time.RFC3339)}},
		}
		if !l.Until.IsZero() {
			one["temporal_interval"] = object{
				"start_inclusive": l.From.UTC().Format(time.RFC3339), "end_exclusive": l.Until.UTC().Format(time.RFC3339)}
		}
		operators = append(operators, object{"name": l.Operator, "email": []string{}, "logs": []any{one}})
	}
	b, err := json.MarshalIndent(object{
		"version": "3", "log_list_timestamp": time.Now().UTC().Format(time.RFC3339), "operators": operators}, "", "  ")
	if err != nil {
		panic(err)
	}
	return b
}
