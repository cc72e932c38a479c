-- +goose Up

-- See the file of the same name for SQLite.
ALTER TABLE application
    ADD COLUMN pruned_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN pruned_chain bytea;

ALTER TABLE span ADD COLUMN pruned bigint NOT NULL DEFAULT 0;

CREATE TABLE loss (
    ep bigint NOT NULL,
    to_seq bigint NOT NULL,
    deliveries bigint NOT NULL,
    recorded bigint NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (ep, to_seq)
);
