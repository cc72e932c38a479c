-- +goose Up

-- Citizens who are linked have the same; NULL: none.
ALTER TABLE citizen ADD COLUMN group_id TEXT;
CREATE INDEX citizen_group ON citizen (app, group_id, row) WHERE group_id IS NOT NULL;

-- Citizens who became a part of another one, which is in table citizen: the IDs
-- and references that name that one since.
CREATE TABLE citizen_merged (
    row         INTEGER PRIMARY KEY AUTOINCREMENT, -- order of merging
    app         INTEGER NOT NULL,
    citizen_id  TEXT    NOT NULL,
    citizen_row INTEGER NOT NULL, -- citizen.row, which it had
    ref_hash    BLOB,             -- as citizen.ref_hash
    into_id     TEXT    NOT NULL  -- citizen.citizen_id
);
CREATE UNIQUE INDEX citizen_merged_id ON citizen_merged (app, citizen_id);
CREATE INDEX citizen_merged_ref ON citizen_merged (app, ref_hash) WHERE ref_hash IS NOT NULL;
CREATE INDEX citizen_merged_into ON citizen_merged (app, into_id, row);

-- When it was recorded; 0: before there was this column. It does not fall in
-- what counts for one citizen.
ALTER TABLE permission_transaction ADD COLUMN recorded_at INTEGER NOT NULL DEFAULT 0;

-- What a citizen's state was at an instant, and of whom the transactions count
-- from there on; sealed under the citizen's key.
CREATE TABLE checkpoint (
    row        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of making
    app        INTEGER NOT NULL,
    citizen_id TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    place      INTEGER NOT NULL, -- permission_transaction.row of the last one before it, of whomever
    standing   BLOB    NOT NULL,
    histories  BLOB              -- NULL: its own only
);
CREATE INDEX checkpoint_citizen ON checkpoint (app, citizen_id, at, row);

-- What an application writes in place of our mails; nothing of it is personal.
CREATE TABLE mail_template (
    app        INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    language   TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    html       TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (app, name, language)
);

-- Questions that were asked by mail.
CREATE TABLE confirmation (
    hash           BLOB    PRIMARY KEY, -- SHA-256 of what is in the link
    app            INTEGER NOT NULL,
    citizen_id     TEXT    NOT NULL,
    transaction_id TEXT    NOT NULL,
    expires_at     INTEGER NOT NULL,
    confirmed_at   INTEGER NOT NULL, -- 0: not yet
    confirmed      TEXT    NOT NULL  -- the transaction that granted; empty: none did
) WITHOUT ROWID;
CREATE INDEX confirmation_citizen ON confirmation (app, citizen_id);
CREATE INDEX confirmation_expiry ON confirmation (expires_at);
