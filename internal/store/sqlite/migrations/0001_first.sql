-- +goose Up

-- The store of one node: one file, one writer. Times are Unix milliseconds in
-- UTC. Applications and endpoints have small integer keys here, so that the
-- rows of the hot path stay short; outside they are known by their IDs.

-- What belongs to the store as a whole, sealed by the master key: "check"
-- tells a wrong master key at the start, "index" is the key of look-up hashes.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE application (
    app        INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id     TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    last_seq   INTEGER NOT NULL DEFAULT 0, -- of its log: dense from 1, in commit order
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE TABLE credential (
    client_id  TEXT    PRIMARY KEY,
    app        INTEGER NOT NULL,
    salt       BLOB    NOT NULL,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX credential_app ON credential (app, created_at);

CREATE TABLE token (
    hash       BLOB    PRIMARY KEY,
    client_id  TEXT    NOT NULL,
    app        INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX token_client ON token (client_id);
CREATE INDEX token_app ON token (app);
CREATE INDEX token_expiry ON token (expires_at);

-- What orders events: a consent, a citizen, or an endpoint whose status
-- changed. sealed_key is the data key of everything personal about it, sealed
-- by the master key; to erase a person is to destroy it.
CREATE TABLE subject (
    app        INTEGER NOT NULL,
    subject    TEXT    NOT NULL,
    sequence   INTEGER NOT NULL DEFAULT 0, -- of its last event
    sealed_key BLOB    NOT NULL,
    PRIMARY KEY (app, subject)
) WITHOUT ROWID;

-- sealed holds all that is not needed to find the row: permissions, persons,
-- payment, times; under the subject's key.
CREATE TABLE consent (
    row          INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    app          INTEGER NOT NULL,
    consent_id   TEXT    NOT NULL UNIQUE,           -- "con_…"
    urn          TEXT    NOT NULL,                  -- consentId
    type         TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    citizen_hash BLOB,                              -- keyed hash of (application, citizenId)
    deadline     INTEGER,                           -- NULL: never
    sealed       BLOB    NOT NULL
);
CREATE UNIQUE INDEX consent_urn ON consent (app, urn);
CREATE INDEX consent_page ON consent (app, row);
CREATE INDEX consent_citizen ON consent (app, citizen_hash, row) WHERE citizen_hash IS NOT NULL;
CREATE INDEX consent_due ON consent (deadline) WHERE deadline IS NOT NULL;

-- The log. body is sealed under the subject's key.
CREATE TABLE event (
    row         INTEGER PRIMARY KEY,
    app         INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    event_id    TEXT    NOT NULL UNIQUE,
    feed        TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    sequence    INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    except_id   TEXT    NOT NULL DEFAULT '', -- the endpoint that is not told
    body        BLOB    NOT NULL
);
CREATE UNIQUE INDEX event_seq ON event (app, seq);
CREATE INDEX event_time ON event (app, recorded_at, seq);
CREATE INDEX event_subject ON event (app, subject, seq);
-- Counts what waits for an endpoint without a look at any body.
CREATE INDEX event_kind ON event (app, type, feed, seq, except_id);

-- sealed is the whole configuration with its secrets, under the master key;
-- empty once the endpoint is deleted.
CREATE TABLE endpoint (
    ep            INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    app           INTEGER NOT NULL,
    endpoint_id   TEXT    NOT NULL UNIQUE,
    style         TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    update_type   TEXT    NOT NULL DEFAULT '',
    feed          TEXT    NOT NULL DEFAULT '',
    url_hash      BLOB    NOT NULL, -- keyed hash of the URL, to find a second interceptor
    version       INTEGER NOT NULL,
    deleted_at    INTEGER,
    sealed        BLOB    NOT NULL,
    -- how far it is
    start_seq     INTEGER NOT NULL, -- it hears what is logged after this place
    cursor_seq    INTEGER NOT NULL, -- everything up to here is settled, filtered or an exception
    epoch         INTEGER NOT NULL DEFAULT 0,
    breaker_open  INTEGER NOT NULL DEFAULT 0,
    breaker_since INTEGER NOT NULL DEFAULT 0,
    failures      INTEGER NOT NULL DEFAULT 0,
    failure       TEXT    NOT NULL DEFAULT '',
    hold_state    TEXT    NOT NULL DEFAULT '',
    hold_since    INTEGER NOT NULL DEFAULT 0,
    hold_reason   TEXT    NOT NULL DEFAULT '',
    hold_next_at  INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX endpoint_app ON endpoint (app, style, ep);

-- How the requests of one version of an endpoint's configuration look, secrets
-- masked; sealed by the master key, for a path or a name may tell something.
CREATE TABLE shown (
    ep      INTEGER NOT NULL,
    version INTEGER NOT NULL,
    shown   BLOB    NOT NULL,
    PRIMARY KEY (ep, version)
) WITHOUT ROWID;

-- The filter in force for everything after from_seq, until the next; JSON.
CREATE TABLE filter (
    ep       INTEGER NOT NULL,
    from_seq INTEGER NOT NULL,
    filter   TEXT    NOT NULL,
    PRIMARY KEY (ep, from_seq)
) WITHOUT ROWID;

-- What was not sent although it matched: places from_seq..to_seq, both
-- included; to_seq is NULL while the owner's pause lasts.
CREATE TABLE span (
    ep       INTEGER NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq   INTEGER,
    state    TEXT    NOT NULL, -- discarded, cancelled
    at       INTEGER NOT NULL,
    PRIMARY KEY (ep, from_seq)
) WITHOUT ROWID;

-- Deliveries that could not just pass.
CREATE TABLE exception (
    ep      INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    subject TEXT    NOT NULL,
    state   TEXT    NOT NULL, -- retrying, blocked; dead, discarded, superseded, cancelled
    base    INTEGER NOT NULL DEFAULT 0,
    tries   INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER NOT NULL DEFAULT 0,
    replay  INTEGER NOT NULL DEFAULT 0,
    ended_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (ep, seq)
) WITHOUT ROWID;
CREATE INDEX exception_due ON exception (ep, next_at) WHERE state = 'retrying';
CREATE INDEX exception_waiting ON exception (ep, seq) WHERE state IN ('retrying', 'blocked');
CREATE INDEX exception_lane ON exception (ep, subject, state, seq) WHERE state IN ('retrying', 'blocked');

-- response is sealed under the subject's key; NULL when there was none.
CREATE TABLE attempt (
    ep          INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    delivered   INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    step        TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    replay      INTEGER NOT NULL,
    config      INTEGER NOT NULL,
    timestamp   INTEGER NOT NULL,
    interaction TEXT    NOT NULL,
    signature   TEXT    NOT NULL,
    response    BLOB,
    next_at     INTEGER NOT NULL,
    PRIMARY KEY (ep, seq, n)
) WITHOUT ROWID;

CREATE TABLE replay (
    replay_id     TEXT    PRIMARY KEY,
    ep            INTEGER NOT NULL,
    seqs          BLOB    NOT NULL, -- ascending, uvarint differences
    total         INTEGER NOT NULL,
    done          INTEGER NOT NULL,
    include_stale INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    ended         INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX replay_open ON replay (ep, created_at) WHERE ended = 0;

CREATE TABLE idempotency (
    app        INTEGER NOT NULL,
    route      TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    request    BLOB    NOT NULL,
    status     INTEGER NOT NULL,
    response   BLOB    NOT NULL, -- sealed by the master key
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (app, route, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

CREATE TABLE bin (
    name       TEXT    PRIMARY KEY,
    app        INTEGER NOT NULL,
    script     TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX bin_app ON bin (app, created_at);
