-- +goose Up

-- What the engine counted for the portal's plots, by the node that counted it: how much of what, in a span of time that began at
-- and is so many milliseconds long. Numbers only: nothing of anybody is in it.
CREATE TABLE tally (
    app  INTEGER NOT NULL,
    span INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    node TEXT    NOT NULL,
    what INTEGER NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (app, span, at, node, what)
) WITHOUT ROWID;
