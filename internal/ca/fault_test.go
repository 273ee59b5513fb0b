package ca_test

import (
	"database/sql"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki"
)

// sabotage runs SQL in the authority's database, behind its back.
func (w *world) sabotage(query string) {
	w.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.options.Folder, "ca.db"))
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		w.Fatal(err)
	}
}

const breakdown = ` BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`

func TestWhatCannotBeRecordedIsNotGivenAway(t *testing.T) {
	for _, table := range []string{"lineages", "intents", "certificates"} {
		t.Run(table, func(t *testing.T) {
			w := newWorld(t)
			k, who := w.token("web"), apply(t)
			w.sabotage(`CREATE TRIGGER full BEFORE INSERT ON ` + table + breakdown)
			for range 2 {
				if out, err := w.Join(w.ctx, k, who.csr, 0); !errors.Is(err, ca.ErrStore) || out != nil {
					t.Fatalf("%+v, %v", out, err)
				}
				if out, err := w.Issue(w.ctx, api.IssueRequest{Name: "db", CSR: apply(t).csr}); !errors.Is(err, ca.ErrStore) || out != nil {
					t.Fatalf("%+v, %v", out, err)
				}
			}
			if all, err := w.Certificates(w.ctx, true); err != nil || len(all) != 0 {
				t.Errorf("%+v, %v", all, err)
			}
			w.sabotage(`DROP TRIGGER full`)
			// There is room again: the token was not lost.
			out, err := w.Join(w.ctx, k, who.csr, 0)
			if err != nil {
				t.Fatal(err)
			}
			w.verify(out.Chain, "web", pki.ForServer)
		})
	}
}

func TestAnAlarmThatCannotBeRecordedStillRefuses(t *testing.T) {
	w := newWorld(t)
	_, first := w.join("web")
	if _, err := w.Renew(w.ctx, first, apply(t).csr, 0); err != nil {
		t.Fatal(err)
	}
	w.sabotage(`CREATE TRIGGER full BEFORE INSERT ON alarms` + breakdown)
	if _, err := w.Renew(w.ctx, first, apply(t).csr, 0); !errors.Is(err, ca.ErrStore) {
		t.Errorf("%v", err)
	}
	w.sabotage(`DROP TRIGGER full`)
	_, err := w.Renew(w.ctx, first, apply(t).csr, 0)
	w.refused(err, code.LineageFrozen)
}

func TestARevocationStandsBeforeItsListIsSigned(t *testing.T) {
	w := newWorld(t)
	_, first := w.join("web")
	w.sabotage(`CREATE TRIGGER full BEFORE INSERT ON lists` + breakdown)
	if _, err := w.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); !errors.Is(err, ca.ErrStore) {
		t.Errorf("%v", err)
	}
	if s, err := w.Standing(w.ctx, first); err != nil || s.State != api.StateRevoked {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := w.Lists(w.ctx); !errors.Is(err, ca.ErrStore) {
		t.Errorf("an old list was given: %v", err)
	}
	w.sabotage(`DROP TRIGGER full`)
	if serials, _ := w.revokedSerials(); len(serials) != 1 {
		t.Errorf("%v", serials)
	}
}

func TestAClosedDatabaseGivesNothingAway(t *testing.T) {
	w := newWorld(t)
	_, first := w.join("web")
	k := w.token("orders")
	a := w.Authority
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	w.open()
	if out, err := a.Join(w.ctx, k, apply(t).csr, 0); !errors.Is(err, ca.ErrStore) || out != nil {
		t.Errorf("%v", err)
	}
	if out, err := a.Renew(w.ctx, first, apply(t).csr, 0); !errors.Is(err, ca.ErrStore) || out != nil {
		t.Errorf("%v", err)
	}
	if chain, _, err := a.Serving(w.ctx); !errors.Is(err, ca.ErrStore) || chain != nil {
		t.Errorf("%v", err)
	}
	if _, err := a.Standing(w.ctx, first); !errors.Is(err, ca.ErrStore) {
		t.Errorf("%v", err)
	}
}

// A certificate that was recorded to be signed, and changed on the disk since, is
// not signed at the next start.
func TestRecordedBytesAreJudgedAgain(t *testing.T) {
	w := newWorld(t)
	k, who := w.token("web"), apply(t)
	w.sabotage(`CREATE TRIGGER full BEFORE INSERT ON certificates` + breakdown)
	if _, err := w.Join(w.ctx, k, who.csr, 0); !errors.Is(err, ca.ErrStore) {
		t.Fatal(err)
	}
	w.sabotage(`DROP TRIGGER full`)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.sabotage(`UPDATE lineages SET name = 'orders'; UPDATE intents SET name = 'orders'`)
	if _, err := ca.Open(w.ctx, w.options); err == nil {
		t.Error("a certificate for another name than the recorded one was signed")
	}
	w.sabotage(`UPDATE lineages SET name = 'web'; UPDATE intents SET name = 'web'`)
	w.open()
	if out, err := w.Join(w.ctx, k, who.csr, 0); err != nil {
		t.Error(err)
	} else {
		w.verify(out.Chain, "web", pki.ForServer)
	}
}

type silence struct{}

func (silence) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWithoutRandomnessNothingIsMade(t *testing.T) {
	w := newWorld(t)
	k := w.token("web")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.options.Random = silence{}
	w.open()
	if _, err := w.Join(w.ctx, k, apply(t).csr, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if _, _, err := w.NewToken(w.ctx, api.TokenRequest{Name: "web"}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if err := ca.Create(w.ctx, ca.Options{Folder: filepath.Join(t.TempDir(), "ca"), Random: silence{}}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if all, err := w.Certificates(w.ctx, true); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	w.options.Random = nil
	w.reopen()
	if _, err := w.Join(w.ctx, k, apply(t).csr, 0); err != nil {
		t.Error(err)
	}
}
