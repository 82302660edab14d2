-- An access token stays good until its time is over, also when the session was refreshed
-- meanwhile: another rig of the same user may still hold it.
ALTER TABLE sessions ADD COLUMN former_access_hash BLOB;
ALTER TABLE sessions ADD COLUMN former_access_expires INTEGER NOT NULL DEFAULT 0;
-- 0 until the newest pair of tokens has been presented once: until then the refresh token
-- before it may come again, from somebody whom the answer did not reach.
ALTER TABLE sessions ADD COLUMN pair_used INTEGER NOT NULL DEFAULT 1;
CREATE INDEX sessions_by_former ON sessions (former_access_hash);

-- How long the session lives after its last refresh, in seconds.
ALTER TABLE sessions ADD COLUMN lifetime INTEGER NOT NULL DEFAULT 2592000;

-- The answers to requests that change something, by the key the request carried.
CREATE TABLE answers (
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    key TEXT NOT NULL,
    event TEXT NOT NULL,
    answer TEXT NOT NULL,
    -- Unix seconds.
    created INTEGER NOT NULL,
    PRIMARY KEY (user, key)
) STRICT;
CREATE INDEX answers_by_time ON answers (created);
