-- +goose Up
-- Names are compared by their bytes, as the other stores do.
CREATE TABLE streams (
	id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name    text COLLATE "C" NOT NULL UNIQUE,
	first   bigint NOT NULL,
	last    bigint NOT NULL,
	bytes   bigint NOT NULL,
	created bigint NOT NULL,
	updated bigint NOT NULL,
	merged  bigint NOT NULL DEFAULT 0
);

-- One row is a run of consecutive entries. oldest and newest are unix milliseconds.
CREATE TABLE blocks (
	stream bigint NOT NULL,
	first  bigint NOT NULL,
	last   bigint NOT NULL,
	oldest bigint NOT NULL,
	newest bigint NOT NULL,
	data   bytea  NOT NULL,
	PRIMARY KEY (stream, first)
);

CREATE TABLE records (
	kind    text COLLATE "C" NOT NULL,
	id      text COLLATE "C" NOT NULL,
	data    bytea  NOT NULL,
	updated bigint NOT NULL,
	PRIMARY KEY (kind, id)
);

-- The one row counts the processes that have owned the journal.
CREATE TABLE owner (epoch bigint NOT NULL);
INSERT INTO owner VALUES (0);
