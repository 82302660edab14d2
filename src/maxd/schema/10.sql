-- Levels: 1 read (viewer), 2 deploy (deployer), 3 admin (owner).
ALTER TABLE api_tokens ADD COLUMN name TEXT;
ALTER TABLE api_tokens ADD COLUMN level INTEGER NOT NULL DEFAULT 3 CHECK (level BETWEEN 1 AND 3);
-- The only network it is for, if it is; it ends with it.
ALTER TABLE api_tokens ADD COLUMN network INTEGER REFERENCES networks ON DELETE CASCADE;
-- Unix seconds; null for never.
ALTER TABLE api_tokens ADD COLUMN expires INTEGER;
CREATE INDEX api_tokens_by_network ON api_tokens (network);

CREATE TABLE members (
    network INTEGER NOT NULL REFERENCES networks ON DELETE CASCADE,
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    level INTEGER NOT NULL CHECK (level BETWEEN 1 AND 3),
    added_at TEXT NOT NULL,
    PRIMARY KEY (network, user)
) STRICT;
CREATE INDEX members_by_user ON members (user, network);
INSERT INTO members SELECT id, owner, 3, created_at FROM networks;
ALTER TABLE networks DROP COLUMN owner;

-- Who did what: what ran in an app, and what concerns who may do what. Outlives tokens, apps
-- and networks, so it names them; a name may be given again, so that the network's row says
-- whose it is.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL,
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    -- The number of the API token that it was done with.
    token INTEGER,
    network TEXT,
    network_id INTEGER REFERENCES networks ON DELETE SET NULL,
    app TEXT,
    -- The app whose log holds what a detached command writes.
    app_id INTEGER REFERENCES apps ON DELETE SET NULL,
    about TEXT,
    tty INTEGER NOT NULL DEFAULT 0,
    detached INTEGER NOT NULL DEFAULT 0,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    code INTEGER,
    reason TEXT
) STRICT;
INSERT INTO audit (id, what, user, network, network_id, app, app_id, tty, detached, started_at, ended_at, code, reason)
    SELECT id, CASE WHEN app = '' THEN 'console' ELSE 'command' END, user, network,
           (SELECT id FROM networks n WHERE n.name = execs.network AND n.created_at <= started_at),
           nullif(app, ''), app_id, tty, detached, started_at, ended_at, code, reason
    FROM execs;
DROP TABLE execs;
CREATE INDEX audit_by_user ON audit (user, id);
CREATE INDEX audit_by_time ON audit (user, what, started_at);
CREATE INDEX audit_by_network ON audit (network_id, id);
CREATE INDEX audit_by_app ON audit (app_id);

-- A key of a token that is for one network (0 for any) is another key.
ALTER TABLE answers RENAME TO former_answers;
CREATE TABLE answers (
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    bound INTEGER NOT NULL,
    key TEXT NOT NULL,
    event TEXT NOT NULL,
    answer TEXT NOT NULL,
    -- Unix seconds.
    created INTEGER NOT NULL,
    PRIMARY KEY (user, bound, key)
) STRICT;
INSERT INTO answers SELECT user, 0, key, event, answer, created FROM former_answers;
DROP TABLE former_answers;
CREATE INDEX answers_by_time ON answers (created);
