-- +goose Up

-- See the file of the same name for SQLite.
CREATE TABLE tally (
    app bigint NOT NULL,
    span bigint NOT NULL,
    at bigint NOT NULL,
    node text COLLATE "C" NOT NULL,
    what bigint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (app, span, at, node, what)
);
