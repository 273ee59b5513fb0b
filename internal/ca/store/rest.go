package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
)

// Setting is a setting of the authority, "" where it was not set.
func (t *Tx) Setting(name string) (string, error) {
	var v string
	err := t.row(`SELECT value FROM settings WHERE name = ?`, []any{name}, &v)
	if err == ErrNone {
		return "", nil
	}
	return v, err
}

// Set sets a setting, once and for all.
func (t *Tx) Set(name, value string) error {
	return t.one(`INSERT INTO settings (name, value) VALUES (?, ?)`, name, value)
}

// Authority is a certificate of the authority's own.
type Authority struct {
	ID      int64
	Role    string // root, issuer, standby
	DER     []byte
	SHA256  [32]byte
	SPKI    [32]byte
	KeyFile string // "" where the key was never here
	Made    time.Time
}

// AddAuthority records a certificate of the authority's own.
func (t *Tx) AddAuthority(a *Authority) error {
	return t.row(`INSERT INTO authorities (role, certificate, sha256, spki, key_file, made) VALUES (?, ?, ?, ?, ?, ?) RETURNING id`,
		[]any{a.Role, a.DER, a.SHA256[:], a.SPKI[:], a.KeyFile, millis(a.Made)}, &a.ID)
}

// Authorities are all certificates of the authority's own, the oldest first.
func (t *Tx) Authorities() ([]*Authority, error) {
	return rows(t, func(scan func(...any) error) (*Authority, error) {
		a := &Authority{}
		var sum, spki []byte
		var made int64
		if err := scan(&a.ID, &a.Role, &a.DER, &sum, &spki, &a.KeyFile, &made); err != nil {
			return nil, err
		}
		copy(a.SHA256[:], sum)
		copy(a.SPKI[:], spki)
		a.Made = from(made)
		return a, nil
	}, `SELECT id, role, certificate, sha256, spki, key_file, made FROM authorities ORDER BY id`)
}

// AddStatement records a statement of anchors. ErrConflict: its number is taken,
// or a higher one is on record.
func (t *Tx) AddStatement(number int64, s api.Statement, at time.Time) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return t.one(`INSERT INTO statements (number, statement, at) SELECT ?, ?, ?
		WHERE NOT EXISTS (SELECT 1 FROM statements WHERE number >= ?)`, number, string(b), millis(at), number)
}

// Statement is the statement of anchors in force.
func (t *Tx) Statement() (s api.Statement, number int64, err error) {
	var text string
	if err := t.row(`SELECT number, statement FROM statements ORDER BY number DESC LIMIT 1`, nil, &number, &text); err != nil {
		return s, 0, err
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, 0, fmt.Errorf("%w: a statement on record does not parse: %w", ErrFailed, err)
	}
	return s, number, nil
}

// Revoke records that a certificate was taken back. ErrConflict: it was already.
func (t *Tx) Revoke(id int64, at time.Time, reason string) error {
	return t.one(`INSERT INTO revocations (certificate, at, reason) VALUES (?, ?, ?)`, id, millis(at), reason)
}

// Revocation is a certificate that was taken back, as a list needs it.
type Revocation struct {
	Serial []byte
	At     time.Time
}

// Revocations are the certificates of an issuer that were taken back and end
// after a time, by when they were taken back; and how many there are in all.
func (t *Tx) Revocations(issuer int64, endAfter time.Time) ([]Revocation, int64, error) {
	out, err := rows(t, func(scan func(...any) error) (r Revocation, err error) {
		var at int64
		err = scan(&r.Serial, &at)
		r.At = from(at)
		return r, err
	}, `SELECT c.serial, r.at FROM revocations r JOIN certificates c ON c.id = r.certificate
		WHERE c.issuer = ? AND c.not_after > ? ORDER BY r.at, c.id`, issuer, millis(endAfter))
	if err != nil {
		return nil, 0, err
	}
	n, err := t.CountRevocations(issuer)
	return out, n, err
}

// CountRevocations is how many certificates of an issuer were ever taken back.
func (t *Tx) CountRevocations(issuer int64) (n int64, err error) {
	err = t.row(`SELECT COUNT(*) FROM revocations r JOIN certificates c ON c.id = r.certificate WHERE c.issuer = ?`, []any{issuer}, &n)
	return n, err
}

// List is a list of revocations of one issuer.
type List struct {
	Issuer int64
	Number int64
	Covers int64 // how many revocations were on record
	TBS    []byte
	DER    []byte // nil before it was signed
	At     time.Time
}

// LastNumber is the highest number that a list of an issuer had, signed or not.
func (t *Tx) LastNumber(issuer int64) (n int64, err error) {
	err = t.row(`SELECT COALESCE(MAX(number), 0) FROM lists WHERE issuer = ?`, []any{issuer}, &n)
	return n, err
}

// AddList records a list that is about to be signed.
func (t *Tx) AddList(l *List) error {
	return t.one(`INSERT INTO lists (issuer, number, covers, tbs, at) VALUES (?, ?, ?, ?, ?)`, l.Issuer, l.Number, l.Covers, l.TBS, millis(l.At))
}

// SignedList records a list that was signed. Those before it are of no use any
// more: what a list says comes from the revocations, which are never removed.
func (t *Tx) SignedList(l *List, der []byte) error {
	if err := t.one(`UPDATE lists SET der = ? WHERE issuer = ? AND number = ? AND der IS NULL`, der, l.Issuer, l.Number); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM lists WHERE issuer = ? AND number < ?`, l.Issuer, l.Number)
	return err
}

// List is the latest list of an issuer that was signed.
func (t *Tx) List(issuer int64) (*List, error) {
	l, at := &List{Issuer: issuer}, int64(0)
	err := t.row(`SELECT number, covers, tbs, der, at FROM lists WHERE issuer = ? AND der IS NOT NULL ORDER BY number DESC LIMIT 1`,
		[]any{issuer}, &l.Number, &l.Covers, &l.TBS, &l.DER, &at)
	l.At = from(at)
	return l, err
}

// AddAlarm records an alarm. One about the same thing is only brought up to date,
// so that whoever knocks a thousand times fills nothing.
func (t *Tx) AddAlarm(a *api.Alarm, about string) error {
	return t.one(`INSERT INTO alarms (at, code, about, words, name, serial) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (code, about) DO UPDATE SET at = excluded.at`, millis(a.At), a.Code, about, a.Words, a.Name, a.Serial)
}

// Alarms are the latest alarms, the newest first.
func (t *Tx) Alarms(most int) ([]api.Alarm, error) {
	return rows(t, func(scan func(...any) error) (a api.Alarm, err error) {
		var at int64
		err = scan(&at, &a.Code, &a.Words, &a.Name, &a.Serial)
		a.At = from(at)
		return a, err
	}, `SELECT at, code, words, name, serial FROM alarms ORDER BY at DESC, id DESC LIMIT ?`, most)
}

// Register records where a service can be reached, and says whether that is news.
func (t *Tx) Register(name, lineage string, addresses []string, now, since time.Time) (news bool, err error) {
	var before string
	var heard int64
	err = t.row(`SELECT addresses, heard FROM services WHERE name = ? AND lineage = ?`, []any{name, lineage}, &before, &heard)
	if err != nil && err != ErrNone {
		return false, err
	}
	news = before != list(addresses) || from(heard).Before(since)
	return news, t.one(`INSERT INTO services (name, lineage, addresses, heard) VALUES (?, ?, ?, ?)
		ON CONFLICT (name, lineage) DO UPDATE SET addresses = excluded.addresses, heard = excluded.heard`,
		name, lineage, list(addresses), millis(now))
}

// Addresses are where a service can be reached, by those of its lineages that are
// valid and were heard of since, those heard of last first.
func (t *Tx) Addresses(name string, since time.Time) ([][]string, error) {
	return rows(t, func(scan func(...any) error) (a []string, err error) {
		var text string
		if err := scan(&text); err != nil {
			return nil, err
		}
		return a, unlist(text, &a)
	}, `SELECT s.addresses FROM services s JOIN lineages l ON l.id = s.lineage
		WHERE s.name = ? AND s.heard >= ? AND l.state = 'valid' ORDER BY s.heard DESC, s.lineage`, name, millis(since))
}

// Counts are the numbers of lineages, of certificates that stand, and of
// certificates that were taken back.
func (t *Tx) Counts(now time.Time) (lineages, valid, revoked int, err error) {
	err = t.row(`SELECT (SELECT COUNT(*) FROM lineages),
		(SELECT COUNT(*) FROM certificates c WHERE c.lineage IS NOT NULL AND c.not_after >= ?
			AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.certificate = c.id)),
		(SELECT COUNT(*) FROM revocations)`, []any{millis(now)}, &lineages, &valid, &revoked)
	return lineages, valid, revoked, err
}
