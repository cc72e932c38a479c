-- +goose Up

-- See the file of the same name for SQLite.
CREATE TABLE endpoint_part (
    ep bigint NOT NULL,
    part bigint NOT NULL,
    cursor_seq bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (ep, part)
) WITH (fillfactor = 50);

ALTER TABLE endpoint ADD COLUMN parts bigint NOT NULL DEFAULT 1;

ALTER TABLE replay ADD COLUMN part bigint NOT NULL DEFAULT 1;
