package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/mutual-tls/mutual/internal/folder"
)

// Store is an open database. One transaction writes at a time; readers see what
// was committed, and wait for nobody.
type Store struct {
	writer, reader *sql.DB
}

var (
	// ErrFailed is what every failure of the database is: a full disk, a damaged file.
	ErrFailed = errors.New("the authority's database failed")
	// ErrNone is the answer where no row fits.
	ErrNone = errors.New("there is no such record")
	// ErrConflict is the answer where a constraint forbids the record: somebody else
	// was faster.
	ErrConflict = errors.New("the record contradicts another one")
)

// Create makes the database of a new authority. There is none yet.
func Create(ctx context.Context, file string) (*Store, error) {
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return open(ctx, file)
}

// Open opens the database of an authority, which is there. A damaged one is
// refused: what it says of tokens and revocations can't be trusted.
func Open(ctx context.Context, file string) (*Store, error) {
	for _, name := range []string{file, file + "-wal", file + "-shm"} {
		if err := folder.Check(name); err != nil && (name == file || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
	}
	return open(ctx, file)
}

func open(ctx context.Context, file string) (*Store, error) {
	s := &Store{}
	var err error
	if s.writer, err = connect(file, "immediate", 1, "journal_mode(WAL)"); err != nil {
		return nil, err
	}
	fail := func(err error) (*Store, error) {
		_ = s.Close() // the first error tells
		return nil, err
	}
	if err := check(ctx, s.writer, file); err != nil {
		return fail(err)
	}
	if err := migrate(ctx, s.writer); err != nil {
		return fail(err)
	}
	if s.reader, err = connect(file, "deferred", 4, "query_only(1)"); err != nil {
		return fail(err)
	}
	return s, nil
}

// Peek opens the database for reading, beside the process that owns it.
func Peek(file string) (*Store, error) {
	if err := folder.Check(file); err != nil {
		return nil, err
	}
	r, err := connect(file, "deferred", 1, "query_only(1)")
	return &Store{reader: r}, err
}

func connect(file, lock string, most int, pragmas ...string) (*sql.DB, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	q := url.Values{"_txlock": {lock}, "_pragma": append(pragmas, "synchronous(FULL)", "foreign_keys(1)", "busy_timeout(10000)", "trusted_schema(0)")}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxLifetime(0)
	return db, nil
}

// check reads through the file once, before anything is believed that it says.
func check(ctx context.Context, db *sql.DB, file string) error {
	var found string
	err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	if err == nil && found == "ok" {
		return nil
	}
	if e := (*sqlite.Error)(nil); errors.As(err, &e) && e.Code()&0xff != sqliteCorrupt && e.Code()&0xff != sqliteNotADB {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if err != nil {
		found = err.Error()
	}
	return fmt.Errorf("%w: the file %s is damaged (%s); put a copy of it, made while the authority was stopped, in its place and remove %s-wal and %s-shm",
		ErrFailed, file, strings.ReplaceAll(found, "\n", " "), filepath.Base(file), filepath.Base(file))
}

// The result codes of SQLite that decide something here.
const (
	sqliteCorrupt    = 11
	sqliteNotADB     = 26
	sqliteUnique     = 2067
	sqlitePrimaryKey = 1555
)

// migrate brings the database to the newest version, each step whole.
func migrate(ctx context.Context, db *sql.DB) error {
	fail := func(err error) error {
		return fmt.Errorf("%w: its tables can't be brought up to date: %w", ErrFailed, err)
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS versions (version BIGINT NOT NULL PRIMARY KEY, at BIGINT NOT NULL)`); err != nil {
		return fail(err)
	}
	var at int
	if err := db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM versions`).Scan(&at); err != nil {
		return fail(err)
	}
	if at >= len(migrations) {
		return fmt.Errorf("%w: it is of version %d, and this program knows versions up to %d; use the newer mutual that wrote it", ErrFailed, at, len(migrations)-1)
	}
	for v := at + 1; v < len(migrations); v++ {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return fail(err)
		}
		_, err = tx.ExecContext(ctx, migrations[v])
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO versions (version, at) VALUES (?, ?)`, v, time.Now().UnixMilli())
		}
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			_ = tx.Rollback()
			return fail(err)
		}
	}
	return nil
}

// Close closes the database.
func (s *Store) Close() error {
	var err error
	if s.reader != nil {
		err = s.reader.Close()
	}
	if s.writer != nil {
		err = errors.Join(err, s.writer.Close())
	}
	return err
}

// Tx is a transaction: all of it or nothing.
type Tx struct {
	tx  *sql.Tx
	ctx context.Context
}

// Update writes. What f returns decides: nil is committed, and is on the disk when
// Update returns; an error undoes everything, and is returned as it is.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) error { return run(ctx, s.writer, f) }

// View reads, from one moment's state.
func (s *Store) View(ctx context.Context, f func(*Tx) error) error { return run(ctx, s.reader, f) }

func run(ctx context.Context, db *sql.DB, f func(*Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return failed(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it says that there is nothing to undo
	if err := f(&Tx{tx, ctx}); err != nil {
		if ctx.Err() != nil && errors.Is(err, ErrFailed) {
			return ctx.Err() // it was interrupted
		}
		return err
	}
	return failed(tx.Commit())
}

// failed tells a record that is there already, no row, an asker who went away and a
// failure apart.
func failed(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNone
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if e := (*sqlite.Error)(nil); errors.As(err, &e) && (e.Code() == sqliteUnique || e.Code() == sqlitePrimaryKey) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

// exec runs a statement and answers with how many rows it changed.
func (t *Tx) exec(query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, failed(err)
	}
	n, err := r.RowsAffected()
	return n, failed(err)
}

// one runs a statement that has to change exactly one row; none is ErrConflict.
func (t *Tx) one(query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n != 1 {
		return ErrConflict
	}
	return err
}

// row reads one row.
func (t *Tx) row(query string, args []any, into ...any) error {
	return failed(t.tx.QueryRowContext(t.ctx, query, args...).Scan(into...))
}

// rows reads all rows, by a function that scans one.
func rows[T any](t *Tx, scan func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	r, err := t.tx.QueryContext(t.ctx, query, args...)
	if err != nil {
		return nil, failed(err)
	}
	defer r.Close()
	var out []T
	for r.Next() {
		v, err := scan(r.Scan)
		if err != nil {
			return nil, failed(err)
		}
		out = append(out, v)
	}
	return out, failed(r.Err())
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func from(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
