-- +goose Up

-- The token that was obtained with an endpoint's credentials. generation grows
-- with each that is kept and when it is forgotten. sealed is by the master key;
-- empty while none is kept.
CREATE TABLE kept_token (
    ep         INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    sealed     BLOB    NOT NULL
);

-- An application's key pairs for signatures. private_key is sealed by the
-- master key, bound to public_key; expires_at is 0 for the current pair.
CREATE TABLE signing_key (
    row         INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    app         INTEGER NOT NULL,
    key_id      TEXT    NOT NULL,
    private_key BLOB    NOT NULL,
    public_key  TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
);
CREATE UNIQUE INDEX signing_key_id ON signing_key (app, key_id);

-- The request for a token that was made during an attempt, and its answer;
-- sealed under the subject's key; NULL when there was none.
ALTER TABLE attempt ADD COLUMN token BLOB;

-- The request for a token that led to the hold; sealed by the master key; NULL
-- when there was none.
ALTER TABLE endpoint ADD COLUMN hold_exchange BLOB;
