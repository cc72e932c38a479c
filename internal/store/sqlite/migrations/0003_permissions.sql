-- +goose Up

-- Grows with each change of an application's configuration, so that what was
-- read of it can be kept in memory.
ALTER TABLE application ADD COLUMN configuration INTEGER NOT NULL DEFAULT 0;

-- What can be asked about: options, groups, preferences, statements and
-- policies; nothing of it is personal. content is JSON. Preferences have their
-- reference as their ID.
CREATE TABLE configuration (
    row         INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    app         INTEGER NOT NULL,
    kind        TEXT    NOT NULL, -- option, group, preference, statement, policy
    id          TEXT    NOT NULL,
    reference   TEXT,             -- of statements and policies
    version     INTEGER NOT NULL, -- of statements and policies; else 0
    used        INTEGER NOT NULL, -- a transaction refers to it
    archived_at INTEGER NOT NULL, -- 0: it is not archived
    content     TEXT    NOT NULL
);
CREATE UNIQUE INDEX configuration_id ON configuration (app, kind, id);
CREATE UNIQUE INDEX configuration_reference ON configuration (app, kind, reference) WHERE reference IS NOT NULL;

-- The versions of statements and policies before the current one.
CREATE TABLE configuration_former (
    app     INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    content TEXT    NOT NULL,
    PRIMARY KEY (app, kind, id, version)
);

-- What stands behind the three IDs of an option.
CREATE TABLE part (
    row     INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    app     INTEGER NOT NULL,
    kind    TEXT    NOT NULL, -- data, purpose, party
    part_id TEXT    NOT NULL,
    name    TEXT    NOT NULL
);
CREATE UNIQUE INDEX part_id ON part (app, kind, part_id);

-- sealed holds what is known of the person, standing the state of the
-- permissions; both under the key of the subject that has the citizen's ID.
CREATE TABLE citizen (
    row        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    app        INTEGER NOT NULL,
    citizen_id TEXT    NOT NULL,
    ref_hash   BLOB,             -- keyed hash of (application, externalRef); NULL: none
    version    INTEGER NOT NULL,
    due_at     INTEGER,          -- when something lapses or begins; NULL: never
    sealed     BLOB    NOT NULL,
    standing   BLOB    NOT NULL
);
CREATE UNIQUE INDEX citizen_id ON citizen (app, citizen_id);
CREATE UNIQUE INDEX citizen_ref ON citizen (app, ref_hash) WHERE ref_hash IS NOT NULL;
CREATE INDEX citizen_page ON citizen (app, row);
CREATE INDEX citizen_due ON citizen (due_at) WHERE due_at IS NOT NULL;

-- What was recorded; sealed under the citizen's key.
CREATE TABLE permission_transaction (
    row            INTEGER PRIMARY KEY AUTOINCREMENT, -- order of recording
    app            INTEGER NOT NULL,
    transaction_id TEXT    NOT NULL UNIQUE,
    citizen_id     TEXT    NOT NULL,
    sealed         BLOB    NOT NULL
);
CREATE INDEX permission_transaction_citizen ON permission_transaction (app, citizen_id, row);

-- The feeds of permissions and e-mails that an endpoint was ever told of.
CREATE TABLE feed_used (
    app  INTEGER NOT NULL,
    feed TEXT    NOT NULL,
    PRIMARY KEY (app, feed)
) WITHOUT ROWID;

INSERT OR IGNORE INTO feed_used (app, feed)
SELECT p.app, CASE t.value
        WHEN 'permissions.delta' THEN 'consent-receipts'
        WHEN 'permissions.effective' THEN 'effective-permission'
        ELSE 'citizen-emails' END
FROM filter f JOIN endpoint p ON p.ep = f.ep, json_each(f.filter, '$.types') t
WHERE t.value IN ('permissions.delta', 'permissions.effective', 'citizen.email');

INSERT OR IGNORE INTO feed_used (app, feed)
SELECT app, update_type FROM endpoint WHERE style = 'subscription' AND update_type <> '';
