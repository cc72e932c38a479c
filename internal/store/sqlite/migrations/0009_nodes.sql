-- +goose Up

-- Who may send to an endpoint, and until when, where several nodes share the
-- database; and which nodes live. In the embedded store nothing of it is used.
ALTER TABLE endpoint ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- a node; empty: nobody
ALTER TABLE endpoint ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;

CREATE TABLE node (
    node_id TEXT    PRIMARY KEY,
    beat_at INTEGER NOT NULL -- when it last said that it lives
) WITHOUT ROWID;
