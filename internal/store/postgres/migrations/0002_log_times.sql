-- +goose Up

-- What lets a read of the log leave the partitions of former days alone. log_at is the latest recorded_at of an application's
-- events; log_late is the place of the last one whose recorded_at was long before that. Both are kept from the first event on
-- that is logged under this schema; NULL: there was none yet.
ALTER TABLE application
    ADD COLUMN log_at bigint,
    ADD COLUMN log_late bigint;
