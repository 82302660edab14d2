-- Commands that go on without a client: what they write is in the log of the app's row.
ALTER TABLE execs ADD COLUMN detached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE execs ADD COLUMN app_id INTEGER REFERENCES apps ON DELETE SET NULL;
CREATE INDEX execs_of_app ON execs (app_id);
