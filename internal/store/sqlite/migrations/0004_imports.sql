-- +goose Up

-- Bulk imports of transactions, and how far each is. What was wrong with a line
-- is sealed under the key of the subject that has the import's ID.
CREATE TABLE import (
    row        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    app        INTEGER NOT NULL,
    import_id  TEXT    NOT NULL UNIQUE,
    key_hash   BLOB,             -- keyed hash of (application, Idempotency-Key); NULL: none
    silent     INTEGER NOT NULL, -- 1: no events
    done       INTEGER NOT NULL, -- 1: all lines came
    lines      INTEGER NOT NULL, -- that were dealt with
    recorded   INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    errors     INTEGER NOT NULL, -- faults of the refused lines
    kept       INTEGER NOT NULL, -- of these, how many are in import_error
    digest     BLOB    NOT NULL, -- SHA-256 of the lines that were dealt with
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX import_key ON import (app, key_hash) WHERE key_hash IS NOT NULL;
CREATE INDEX import_page ON import (app, row);

CREATE TABLE import_error (
    import INTEGER NOT NULL, -- import.row
    line   INTEGER NOT NULL, -- from 1
    sealed BLOB    NOT NULL,
    PRIMARY KEY (import, line)
) WITHOUT ROWID;
