-- +goose Up
-- Up to this entry the blocks of a stream need no more merging.
ALTER TABLE streams ADD COLUMN merged INTEGER NOT NULL DEFAULT 0;

PRAGMA user_version = 2;
