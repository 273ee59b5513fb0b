package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// Lineage is an identity through all its renewals, and what was granted to it.
type Lineage struct {
	ID      string
	Name    string
	Names   []string // more DNS names and IP addresses
	Service string
	State   string
	Made    time.Time
}

// Token is a token, by its hash.
type Token struct {
	Hash    [32]byte
	Name    string
	Names   []string
	Service string
	Made    time.Time
	Expires time.Time
	// SPKI is the hash of the key that spent it, and Lineage what that made; nil and
	// "" while it was not spent.
	SPKI    []byte
	Lineage string
}

// Intent is what is about to be signed.
type Intent struct {
	ID          int64
	Profile     string
	Issuer      int64
	Serial      []byte
	TBS         []byte
	SPKI        [32]byte
	Name        string
	Lineage     string // "" for what is of no lineage
	Predecessor int64  // 0: none
	At          time.Time
	Pending     bool
}

// Certificate is what was signed.
type Certificate struct {
	ID, Issuer int64
	Serial     []byte
	Lineage    string
	NotBefore  time.Time
	NotAfter   time.Time
	DER        []byte
	Head       bool

	// From beside it.
	Name          string
	SPKI          [32]byte
	IssuedAt      time.Time
	State         string // of its lineage, "" for none
	Names         []string
	Service       string
	RevokedAt     *time.Time
	RevokedReason string
}

// AddLineage records a new lineage.
func (t *Tx) AddLineage(l *Lineage) error {
	return t.one(`INSERT INTO lineages (id, name, names, service, state, made) VALUES (?, ?, ?, ?, ?, ?)`,
		l.ID, l.Name, list(l.Names), l.Service, l.State, millis(l.Made))
}

const lineageColumns = `SELECT id, name, names, service, state, made FROM lineages`

func scanLineage(scan func(...any) error) (*Lineage, error) {
	l, names, made := &Lineage{}, "", int64(0)
	if err := scan(&l.ID, &l.Name, &names, &l.Service, &l.State, &made); err != nil {
		return nil, err
	}
	l.Made = from(made)
	return l, unlist(names, &l.Names)
}

// Lineage is the lineage with an id.
func (t *Tx) Lineage(id string) (*Lineage, error) {
	l, err := scanLineage(t.tx.QueryRowContext(t.ctx, lineageColumns+` WHERE id = ?`, id).Scan)
	return l, failed(err)
}

// LineagesOf are the lineages of a name, the oldest first.
func (t *Tx) LineagesOf(name string) ([]*Lineage, error) {
	return rows(t, scanLineage, lineageColumns+` WHERE name = ? ORDER BY made, id`, name)
}

// MoveLineage changes a lineage's state from one to another. ErrConflict: it was
// not in the first.
func (t *Tx) MoveLineage(id, from, to string) error {
	return t.one(`UPDATE lineages SET state = ? WHERE id = ? AND state = ?`, to, id, from)
}

// AddToken records a token.
func (t *Tx) AddToken(k *Token) error {
	return t.one(`INSERT INTO tokens (hash, name, names, service, made, expires) VALUES (?, ?, ?, ?, ?, ?)`,
		k.Hash[:], k.Name, list(k.Names), k.Service, millis(k.Made), millis(k.Expires))
}

// Token is the token with a hash.
func (t *Tx) Token(hash [32]byte) (*Token, error) {
	k, names := &Token{Hash: hash}, ""
	var made, expires int64
	var lineage *string
	err := t.row(`SELECT name, names, service, made, expires, spki, lineage FROM tokens WHERE hash = ?`, []any{hash[:]},
		&k.Name, &names, &k.Service, &made, &expires, &k.SPKI, &lineage)
	if err != nil {
		return nil, err
	}
	k.Made, k.Expires = from(made), from(expires)
	if lineage != nil {
		k.Lineage = *lineage
	}
	return k, failed(unlist(names, &k.Names))
}

// SpendToken binds a token that was not spent, and has not expired, to a key and
// the lineage that it makes. ErrConflict: somebody else was faster.
func (t *Tx) SpendToken(hash, spki [32]byte, lineage string, now time.Time) error {
	return t.one(`UPDATE tokens SET spki = ?, lineage = ? WHERE hash = ? AND spki IS NULL AND expires >= ?`,
		spki[:], lineage, hash[:], millis(now))
}

// Waiting says whether a token for a name can still be used.
func (t *Tx) Waiting(name string, now time.Time) (bool, error) {
	var n int
	err := t.row(`SELECT COUNT(*) FROM tokens WHERE name = ? AND spki IS NULL AND expires >= ?`, []any{name, millis(now)}, &n)
	return n > 0, err
}

// EndTokens ends what of a name's tokens can still be used.
func (t *Tx) EndTokens(name string, now time.Time) error {
	_, err := t.exec(`UPDATE tokens SET expires = ? WHERE name = ? AND spki IS NULL AND expires >= ?`, millis(now)-1, name, millis(now))
	return err
}

// KeyUsed says whether a certificate was, or is to be, made for a key.
func (t *Tx) KeyUsed(spki [32]byte) (bool, error) {
	var n int
	err := t.row(`SELECT COUNT(*) FROM intents WHERE spki = ?`, []any{spki[:]}, &n)
	return n > 0, err
}

// AddIntent records what is about to be signed, and gives it its ID. ErrConflict:
// the key, the serial number or the predecessor was used, or the lineage has an
// intent that is not done.
func (t *Tx) AddIntent(i *Intent) error {
	err := t.row(`INSERT INTO intents (profile, issuer, serial, tbs, spki, name, lineage, predecessor, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		[]any{i.Profile, i.Issuer, i.Serial, i.TBS, i.SPKI[:], i.Name, null(i.Lineage), null(i.Predecessor), millis(i.At)}, &i.ID)
	i.Pending = err == nil
	return err
}

const intentColumns = `SELECT id, profile, issuer, serial, tbs, spki, name, lineage, predecessor, at, pending FROM intents`

func scanIntent(scan func(...any) error) (*Intent, error) {
	i := &Intent{}
	var spki []byte
	var lineage *string
	var predecessor *int64
	var at int64
	if err := scan(&i.ID, &i.Profile, &i.Issuer, &i.Serial, &i.TBS, &spki, &i.Name, &lineage, &predecessor, &at, &i.Pending); err != nil {
		return nil, err
	}
	copy(i.SPKI[:], spki)
	i.At = from(at)
	if lineage != nil {
		i.Lineage = *lineage
	}
	if predecessor != nil {
		i.Predecessor = *predecessor
	}
	return i, nil
}

// Pending are the intents that no certificate is on record for.
func (t *Tx) Pending() ([]*Intent, error) {
	return rows(t, scanIntent, intentColumns+` WHERE pending = 1 ORDER BY id`)
}

// Successor is what was recorded to follow a certificate.
func (t *Tx) Successor(id int64) (*Intent, error) {
	i, err := scanIntent(t.tx.QueryRowContext(t.ctx, intentColumns+` WHERE predecessor = ?`, id).Scan)
	return i, failed(err)
}

// FirstOf is the first intent of a lineage.
func (t *Tx) FirstOf(lineage string) (*Intent, error) {
	i, err := scanIntent(t.tx.QueryRowContext(t.ctx, intentColumns+` WHERE lineage = ? AND predecessor IS NULL`, lineage).Scan)
	return i, failed(err)
}

// LastSigned is the latest time at which anything was to be signed; zero for never.
func (t *Tx) LastSigned() (time.Time, error) {
	var intents, lists *int64
	if err := t.row(`SELECT (SELECT MAX(at) FROM intents), (SELECT MAX(at) FROM lists)`, nil, &intents, &lists); err != nil {
		return time.Time{}, err
	}
	var last time.Time
	for _, ms := range []*int64{intents, lists} {
		if ms != nil && from(*ms).After(last) {
			last = from(*ms)
		}
	}
	return last, nil
}

// AddCertificate records the certificate of an intent, which is done with it. Of a
// lineage it becomes the head. ErrConflict: one is on record.
func (t *Tx) AddCertificate(i *Intent, der []byte, notBefore, notAfter time.Time) error {
	if err := t.one(`UPDATE intents SET pending = 0 WHERE id = ? AND pending = 1`, i.ID); err != nil {
		return err
	}
	if i.Lineage != "" {
		if _, err := t.exec(`UPDATE certificates SET head = 0 WHERE lineage = ? AND head = 1`, i.Lineage); err != nil {
			return err
		}
	}
	return t.one(`INSERT INTO certificates (id, issuer, serial, lineage, not_before, not_after, der, head) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		i.ID, i.Issuer, i.Serial, null(i.Lineage), millis(notBefore), millis(notAfter), der, i.Lineage != "")
}

const certificateColumns = `SELECT c.id, c.issuer, c.serial, c.lineage, c.not_before, c.not_after, c.der, c.head,
		i.name, i.spki, i.at, l.state, l.names, l.service, r.at, r.reason
	FROM certificates c JOIN intents i ON i.id = c.id
	LEFT JOIN lineages l ON l.id = c.lineage LEFT JOIN revocations r ON r.certificate = c.id`

func scanCertificate(scan func(...any) error) (*Certificate, error) {
	c := &Certificate{}
	var spki []byte
	var lineage, state, names, service, reason *string
	var notBefore, notAfter, issued int64
	var revoked *int64
	if err := scan(&c.ID, &c.Issuer, &c.Serial, &lineage, &notBefore, &notAfter, &c.DER, &c.Head,
		&c.Name, &spki, &issued, &state, &names, &service, &revoked, &reason); err != nil {
		return nil, err
	}
	copy(c.SPKI[:], spki)
	c.NotBefore, c.NotAfter, c.IssuedAt = from(notBefore), from(notAfter), from(issued)
	if lineage != nil {
		c.Lineage = *lineage
	}
	if state != nil {
		c.State = *state
	}
	if service != nil {
		c.Service = *service
	}
	if revoked != nil {
		at := from(*revoked)
		c.RevokedAt = &at
	}
	if reason != nil {
		c.RevokedReason = *reason
	}
	if names != nil {
		return c, unlist(*names, &c.Names)
	}
	return c, nil
}

// Certificate is the certificate of an intent.
func (t *Tx) Certificate(id int64) (*Certificate, error) {
	c, err := scanCertificate(t.tx.QueryRowContext(t.ctx, certificateColumns+` WHERE c.id = ?`, id).Scan)
	return c, failed(err)
}

// CertificateBy is the certificate that an issuer gave a serial number.
func (t *Tx) CertificateBy(issuer int64, serial []byte) (*Certificate, error) {
	c, err := scanCertificate(t.tx.QueryRowContext(t.ctx, certificateColumns+` WHERE c.issuer = ? AND c.serial = ?`, issuer, serial).Scan)
	return c, failed(err)
}

// WithSerial are the certificates with a serial number, whoever issued them.
func (t *Tx) WithSerial(serial []byte) ([]*Certificate, error) {
	return rows(t, scanCertificate, certificateColumns+` WHERE c.serial = ?`, serial)
}

// CertificatesOf are the certificates of a lineage, the oldest first.
func (t *Tx) CertificatesOf(lineage string) ([]*Certificate, error) {
	return rows(t, scanCertificate, certificateColumns+` WHERE c.lineage = ? ORDER BY c.id`, lineage)
}

// Heads are the latest certificates of all lineages.
func (t *Tx) Heads() ([]*Certificate, error) {
	return rows(t, scanCertificate, certificateColumns+` WHERE c.head = 1 ORDER BY i.name, c.id`)
}

// Certificates are all certificates.
func (t *Tx) Certificates() ([]*Certificate, error) {
	return rows(t, scanCertificate, certificateColumns+` ORDER BY i.name, c.id`)
}

// list is a list of names as it is kept.
func list(names []string) string {
	if names == nil {
		names = []string{}
	}
	b, _ := json.Marshal(names) // strings always do
	return string(b)
}

func unlist(s string, names *[]string) error {
	if err := json.Unmarshal([]byte(s), names); err != nil {
		return fmt.Errorf("a list of names on record does not parse: %w", err)
	}
	return nil
}

// null is NULL for the zero value.
func null[T comparable](v T) any {
	if v == *new(T) {
		return nil
	}
	return v
}
