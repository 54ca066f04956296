-- +goose Up
CREATE TABLE streams (
	id      INTEGER PRIMARY KEY,
	name    TEXT    NOT NULL UNIQUE,
	first   INTEGER NOT NULL,
	last    INTEGER NOT NULL,
	bytes   INTEGER NOT NULL,
	created INTEGER NOT NULL,
	updated INTEGER NOT NULL
);

-- One row is a run of consecutive entries. oldest and newest are unix milliseconds.
CREATE TABLE blocks (
	stream INTEGER NOT NULL,
	first  INTEGER NOT NULL,
	last   INTEGER NOT NULL,
	oldest INTEGER NOT NULL,
	newest INTEGER NOT NULL,
	data   BLOB    NOT NULL,
	PRIMARY KEY (stream, first)
) WITHOUT ROWID;

CREATE TABLE records (
	kind    TEXT    NOT NULL,
	id      TEXT    NOT NULL,
	data    BLOB    NOT NULL,
	updated INTEGER NOT NULL,
	PRIMARY KEY (kind, id)
) WITHOUT ROWID;

PRAGMA user_version = 1;
