-- +goose Up

-- Who may use the portal (user), who was asked to (invitation), and who is signed in (session). hash is how one is found: the
-- keyed hash of a user's address, the SHA-256 of an invitation's or a session's secret. app 0 is no application.
CREATE TABLE portal_entry (
    kind       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    app        INTEGER NOT NULL,
    owner      TEXT    NOT NULL, -- the user's ID; empty: nobody's
    sealed     BLOB    NOT NULL,
    expires_at INTEGER NOT NULL, -- 0: never
    PRIMARY KEY (kind, hash)
) WITHOUT ROWID;
CREATE INDEX portal_entry_app ON portal_entry (app, kind);
CREATE INDEX portal_entry_owner ON portal_entry (owner, kind);
CREATE INDEX portal_entry_expiry ON portal_entry (expires_at) WHERE expires_at > 0;

-- The latest replays of an endpoint.
CREATE INDEX replay_latest ON replay (ep, created_at);
