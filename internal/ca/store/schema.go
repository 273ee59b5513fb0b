package store

// migrations bring a database from each version to the next. One that was
// released is never changed; a change is a new one at the end.
//
// Times are milliseconds since 1970. Names are JSON lists. An intent and its
// certificate have the same id: what is in intents and not in certificates may
// not have been signed, and is signed again at the next start.
var migrations = []string{1: `
CREATE TABLE settings (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
);
CREATE TABLE authorities (
	id          INTEGER NOT NULL PRIMARY KEY,
	role        TEXT NOT NULL CHECK (role IN ('root', 'issuer', 'standby')),
	certificate BLOB NOT NULL,
	sha256      BLOB NOT NULL UNIQUE,
	spki        BLOB NOT NULL UNIQUE,
	key_file    TEXT NOT NULL,
	made        BIGINT NOT NULL
);
CREATE UNIQUE INDEX one_issuer ON authorities (role) WHERE role = 'issuer';
CREATE TABLE statements (
	number    BIGINT NOT NULL PRIMARY KEY CHECK (number > 0),
	statement TEXT NOT NULL,
	at        BIGINT NOT NULL
);
CREATE TABLE lineages (
	id      TEXT NOT NULL PRIMARY KEY,
	name    TEXT NOT NULL,
	names   TEXT NOT NULL,
	service TEXT NOT NULL,
	state   TEXT NOT NULL CHECK (state IN ('valid', 'revoked', 'frozen')),
	made    BIGINT NOT NULL
);
CREATE INDEX lineages_of_a_name ON lineages (name);
CREATE TABLE tokens (
	hash    BLOB NOT NULL PRIMARY KEY,
	name    TEXT NOT NULL,
	names   TEXT NOT NULL,
	service TEXT NOT NULL,
	made    BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	spki    BLOB,
	lineage TEXT UNIQUE REFERENCES lineages (id),
	CHECK ((spki IS NULL) = (lineage IS NULL))
);
CREATE INDEX tokens_of_a_name ON tokens (name);
CREATE TABLE intents (
	id          INTEGER NOT NULL PRIMARY KEY,
	profile     TEXT NOT NULL,
	issuer      BIGINT NOT NULL REFERENCES authorities (id),
	serial      BLOB NOT NULL,
	tbs         BLOB NOT NULL,
	spki        BLOB NOT NULL UNIQUE,
	name        TEXT NOT NULL,
	lineage     TEXT REFERENCES lineages (id),
	predecessor BIGINT UNIQUE REFERENCES certificates (id),
	at          BIGINT NOT NULL,
	pending     INTEGER NOT NULL DEFAULT 1 CHECK (pending IN (0, 1)),
	UNIQUE (issuer, serial)
);
CREATE UNIQUE INDEX one_pending ON intents (lineage) WHERE pending = 1;
CREATE INDEX pending_intents ON intents (id) WHERE pending = 1;
CREATE INDEX intents_by_time ON intents (at);
CREATE TABLE certificates (
	id         BIGINT NOT NULL PRIMARY KEY REFERENCES intents (id),
	issuer     BIGINT NOT NULL REFERENCES authorities (id),
	serial     BLOB NOT NULL,
	lineage    TEXT REFERENCES lineages (id),
	not_before BIGINT NOT NULL,
	not_after  BIGINT NOT NULL,
	der        BLOB NOT NULL,
	head       INTEGER NOT NULL CHECK (head IN (0, 1)),
	UNIQUE (issuer, serial)
);
CREATE UNIQUE INDEX one_head ON certificates (lineage) WHERE head = 1;
CREATE INDEX certificates_of_a_lineage ON certificates (lineage);
CREATE INDEX certificates_by_serial ON certificates (serial);
CREATE TABLE revocations (
	certificate BIGINT NOT NULL PRIMARY KEY REFERENCES certificates (id),
	at          BIGINT NOT NULL,
	reason      TEXT NOT NULL
);
CREATE TABLE lists (
	issuer BIGINT NOT NULL REFERENCES authorities (id),
	number BIGINT NOT NULL CHECK (number > 0),
	covers BIGINT NOT NULL,
	tbs    BLOB NOT NULL,
	der    BLOB,
	at     BIGINT NOT NULL,
	PRIMARY KEY (issuer, number)
);
CREATE TABLE alarms (
	id     INTEGER NOT NULL PRIMARY KEY,
	at     BIGINT NOT NULL,
	code   TEXT NOT NULL,
	about  TEXT NOT NULL,
	words  TEXT NOT NULL,
	name   TEXT NOT NULL,
	serial TEXT NOT NULL,
	UNIQUE (code, about)
);
CREATE TABLE services (
	name      TEXT NOT NULL,
	lineage   TEXT NOT NULL REFERENCES lineages (id),
	addresses TEXT NOT NULL,
	heard     BIGINT NOT NULL,
	PRIMARY KEY (name, lineage)
);
`}
