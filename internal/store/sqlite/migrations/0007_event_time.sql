-- +goose Up

-- Places are found by time in the order of the log, which nearly is that of the
-- clock; nothing asked for this index.
DROP INDEX IF EXISTS event_time;
