-- +goose Up

-- A record's chain is SHA-256 over the chain of the record before it in its
-- application, what the record says in clear, with a keyed hash in place of the
-- subject's name, and the SHA-256 of its sealed content. It is NULL for what was
-- recorded before there was a chain. When the content is erased its SHA-256 is
-- kept as digest; until then digest is NULL.
ALTER TABLE event ADD COLUMN erased INTEGER NOT NULL DEFAULT 0; -- 1: body is empty
ALTER TABLE event ADD COLUMN digest BLOB;
ALTER TABLE event ADD COLUMN chain BLOB;
ALTER TABLE permission_transaction ADD COLUMN digest BLOB; -- not NULL: sealed is empty
ALTER TABLE permission_transaction ADD COLUMN chain BLOB;

-- The chain of the last event, and of the last transaction; NULL: there is none.
ALTER TABLE application ADD COLUMN log_head BLOB;
ALTER TABLE application ADD COLUMN history_head BLOB;

-- Keyed hash of the subject that a kept answer is about; NULL: nobody's.
ALTER TABLE idempotency ADD COLUMN subject BLOB;
CREATE INDEX idempotency_subject ON idempotency (app, subject) WHERE subject IS NOT NULL;

-- Who was erased: keyed hashes of subjects.
CREATE TABLE tombstone (
    app       INTEGER NOT NULL,
    subject   BLOB    NOT NULL,
    erased_at INTEGER NOT NULL,
    PRIMARY KEY (app, subject)
) WITHOUT ROWID;

-- Subjects that were erased but for their last events, of which deliveries are
-- not ended yet.
CREATE TABLE erasing (
    app     INTEGER NOT NULL,
    subject TEXT    NOT NULL,
    seqs    BLOB    NOT NULL, -- of the last events; ascending, uvarint differences
    PRIMARY KEY (app, subject)
) WITHOUT ROWID;

-- Every subscription hears of erasures, from now on.
UPDATE filter SET filter = json_object('types', json((SELECT json_group_array(value) FROM
        (SELECT value FROM json_each(filter.filter, '$.types') UNION SELECT 'citizen.erased' ORDER BY 1))))
WHERE ep IN (SELECT ep FROM endpoint WHERE style = 'subscription' AND deleted_at IS NULL)
    AND from_seq = (SELECT MAX(f.from_seq) FROM filter f WHERE f.ep = filter.ep);
