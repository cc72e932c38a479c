-- +goose Up

-- What age took. The log's events up to place pruned_seq are gone; pruned_chain is the chain of the last of them, where that of
-- those that are left begins.
ALTER TABLE application ADD COLUMN pruned_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE application ADD COLUMN pruned_chain BLOB;

-- How many deliveries that were discarded in the span are gone with their events.
ALTER TABLE span ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;

-- Deliveries that were not made yet when age took their events, by the operator's word.
CREATE TABLE loss (
    ep         INTEGER NOT NULL,
    to_seq     INTEGER NOT NULL, -- the last place of those
    deliveries INTEGER NOT NULL,
    recorded   INTEGER NOT NULL, -- when the last of them was recorded
    at         INTEGER NOT NULL,
    PRIMARY KEY (ep, to_seq)
) WITHOUT ROWID;
