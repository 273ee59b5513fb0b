// Package store is the authority's database: SQLite in one file, in the
// authority's folder. It knows tables and what must be true of them, which are
// constraints wherever SQL can say it; what is decided is internal/ca's.
//
// The SQL is kept to what PostgreSQL says alike, but for opening a file.
package store
