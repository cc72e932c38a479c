-- +goose Up

-- An endpoint whose subjects are shared out to several parts has a row for each; the endpoint's own cursor and lease then count
-- for nothing.
CREATE TABLE endpoint_part (
    ep          INTEGER NOT NULL,
    part        INTEGER NOT NULL, -- from 1
    cursor_seq  INTEGER NOT NULL,
    epoch       INTEGER NOT NULL DEFAULT 0,
    late        INTEGER NOT NULL DEFAULT 0,
    owner       TEXT    NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (ep, part)
) WITHOUT ROWID;

ALTER TABLE endpoint ADD COLUMN parts INTEGER NOT NULL DEFAULT 1;

-- Which part makes the replay.
ALTER TABLE replay ADD COLUMN part INTEGER NOT NULL DEFAULT 1;
