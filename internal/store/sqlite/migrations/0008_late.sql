-- +goose Up

-- The epoch in which somebody whose lease had passed on recorded attempts: from
-- then on the holder's may meet others of the same number. 0: never.
ALTER TABLE endpoint ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
