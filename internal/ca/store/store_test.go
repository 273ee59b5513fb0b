package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
)

func create(t *testing.T) (*Store, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "it's a #strange? 100% name.db")
	s, err := Create(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, file
}

var at = time.UnixMilli(1_800_000_000_000).UTC()

// fill records an issuer, a lineage and an intent of it.
func fill(t *testing.T, s *Store) *Intent {
	t.Helper()
	in := &Intent{Profile: "leaf", Issuer: 1, Serial: []byte{1}, TBS: []byte("tbs"), SPKI: [32]byte{1}, Name: "web", Lineage: "L", At: at}
	err := s.Update(t.Context(), func(tx *Tx) error {
		if err := tx.AddAuthority(&Authority{Role: "issuer", DER: []byte("der"), SHA256: [32]byte{1}, SPKI: [32]byte{2}, Made: at}); err != nil {
			return err
		}
		if err := tx.AddLineage(&Lineage{ID: "L", Name: "web", Names: []string{"a"}, State: "valid", Made: at}); err != nil {
			return err
		}
		return tx.AddIntent(in)
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestWhatMustBeTrueIsHeldByTheDatabase(t *testing.T) {
	s, _ := create(t)
	in := fill(t, s)
	intent := func(change func(*Intent)) func(*Tx) error {
		return func(tx *Tx) error {
			i := Intent{Profile: "leaf", Issuer: 1, Serial: []byte{9}, TBS: []byte("tbs"), SPKI: [32]byte{9}, Name: "web", At: at}
			change(&i)
			return tx.AddIntent(&i)
		}
	}
	conflict := func(what string, f func(*Tx) error) {
		t.Helper()
		if err := s.Update(t.Context(), f); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	failure := func(what string, f func(*Tx) error) {
		t.Helper()
		if err := s.Update(t.Context(), f); !errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	conflict("a second intent of a lineage", intent(func(i *Intent) { i.Lineage = "L" }))
	conflict("a serial number twice", intent(func(i *Intent) { i.Serial = in.Serial }))
	conflict("a key twice", intent(func(i *Intent) { i.SPKI = in.SPKI }))
	failure("an issuer that is not there", intent(func(i *Intent) { i.Issuer = 7 }))
	failure("a lineage that is not there", intent(func(i *Intent) { i.Lineage = "M" }))
	failure("a predecessor that is not there", intent(func(i *Intent) { i.Predecessor = 7 }))
	conflict("a second issuer", func(tx *Tx) error {
		return tx.AddAuthority(&Authority{Role: "issuer", DER: []byte("x"), SHA256: [32]byte{7}, SPKI: [32]byte{7}})
	})
	failure("a state that there is not", func(tx *Tx) error { return tx.AddLineage(&Lineage{ID: "M", State: "odd"}) })

	record := func(tx *Tx) error { return tx.AddCertificate(in, []byte("der"), at, at.Add(time.Hour)) }
	if err := s.Update(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	conflict("a second certificate of an intent", record)
	next := intent(func(i *Intent) { i.Lineage, i.Predecessor, i.Serial, i.SPKI = "L", in.ID, []byte{2}, [32]byte{3} })
	if err := s.Update(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	conflict("a second successor", intent(func(i *Intent) { i.Predecessor = in.ID }))
	if err := s.Update(t.Context(), func(tx *Tx) error {
		i, err := tx.Successor(in.ID)
		if err != nil {
			return err
		}
		return tx.AddCertificate(i, []byte("der2"), at, at.Add(time.Hour))
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(tx *Tx) error {
		heads, err := tx.Heads()
		if err != nil || len(heads) != 1 || string(heads[0].DER) != "der2" {
			return fmt.Errorf("%d heads, %w", len(heads), err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	failure("two heads of a lineage", func(tx *Tx) error {
		if _, err := tx.exec(`UPDATE certificates SET head = 1`); !errors.Is(err, ErrConflict) {
			return fmt.Errorf("two heads: %w", err)
		}
		return ErrFailed
	})
	revoke := func(tx *Tx) error { return tx.Revoke(in.ID, at, "") }
	if err := s.Update(t.Context(), revoke); err != nil {
		t.Fatal(err)
	}
	conflict("a second revocation", revoke)

	token := &Token{Hash: [32]byte{1}, Name: "web", Made: at, Expires: at.Add(time.Hour)}
	add := func(tx *Tx) error { return tx.AddToken(token) }
	if err := s.Update(t.Context(), add); err != nil {
		t.Fatal(err)
	}
	conflict("a token twice", add)
	spend := func(key byte, lineage string, now time.Time) func(*Tx) error {
		return func(tx *Tx) error {
			if err := tx.AddLineage(&Lineage{ID: lineage, Name: "web", State: "valid", Made: at}); err != nil {
				return err
			}
			return tx.SpendToken(token.Hash, [32]byte{key}, lineage, now)
		}
	}
	conflict("a token after its end", spend(1, "N", at.Add(2*time.Hour)))
	if err := s.Update(t.Context(), spend(1, "N", at)); err != nil {
		t.Fatal(err)
	}
	conflict("a token a second time", spend(2, "O", at))
	if err := s.View(t.Context(), func(tx *Tx) error { _, err := tx.Lineage("O"); return err }); !errors.Is(err, ErrNone) {
		t.Errorf("what was refused left a lineage: %v", err)
	}
	statement := func(n int64) func(*Tx) error {
		return func(tx *Tx) error { return tx.AddStatement(n, api.Statement{}, at) }
	}
	if err := s.Update(t.Context(), statement(5)); err != nil {
		t.Fatal(err)
	}
	conflict("a statement's number twice", statement(5))
	conflict("a lower number", statement(4))
}

func TestReadersCannotWrite(t *testing.T) {
	s, _ := create(t)
	if err := s.View(t.Context(), func(tx *Tx) error { return tx.Set("a", "b") }); !errors.Is(err, ErrFailed) {
		t.Errorf("%v", err)
	}
}

func TestTheDatabaseWaitsForTheDisk(t *testing.T) {
	s, _ := create(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		var got string
		if err := s.writer.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, expected %s (%v)", pragma, got, want, err)
		}
	}
}

func TestADatabaseOfANewerVersionIsRefused(t *testing.T) {
	s, file := create(t)
	if _, err := s.writer.Exec(`INSERT INTO versions (version, at) VALUES (?, 0)`, len(migrations)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), file); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("%v", err)
	}
}

func TestAMigrationThatFailsChangesNothing(t *testing.T) {
	s, file := create(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	defer func(m []string) { migrations = m }(migrations)
	migrations = append(append([]string{}, migrations...), `CREATE TABLE good (a INTEGER); CREATE TABLE settings (a INTEGER);`)
	if _, err := Open(t.Context(), file); !errors.Is(err, ErrFailed) {
		t.Fatalf("%v", err)
	}
	migrations[len(migrations)-1] = `CREATE TABLE good (a INTEGER);`
	s, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var n int
	if err := s.writer.QueryRow(`SELECT MAX(version) FROM versions`).Scan(&n); err != nil || n != len(migrations)-1 {
		t.Errorf("version %d, %v", n, err)
	}
}

func TestAnAskerWhoWentAwayIsNoFailure(t *testing.T) {
	s, _ := create(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.View(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.Canceled) || errors.Is(err, ErrFailed) {
		t.Errorf("%v", err)
	}
}

func TestCreateTakesNoFileThatIsThere(t *testing.T) {
	s, file := create(t)
	if _, err := Create(t.Context(), file); !errors.Is(err, ErrFailed) || !errors.Is(err, os.ErrExist) {
		t.Errorf("%v", err)
	}
	if err := s.writer.QueryRow(`SELECT 1`).Err(); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Error(err)
	}
}
