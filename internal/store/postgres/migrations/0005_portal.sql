-- +goose Up

-- See the file of the same name for SQLite.
CREATE TABLE portal_entry (
    kind text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,
    app bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    sealed bytea NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (kind, hash)
);

CREATE INDEX portal_entry_app ON portal_entry (app, kind);

CREATE INDEX portal_entry_owner ON portal_entry (owner, kind);

CREATE INDEX portal_entry_expiry ON portal_entry (expires_at) WHERE expires_at > 0;

CREATE INDEX replay_latest ON replay (ep, created_at);
