-- Commands and shells inside apps: who opened what, when, and how it ended; never what was
-- read or written. Outlives the app and its network, so it names them.
CREATE TABLE execs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    network TEXT NOT NULL,
    app TEXT NOT NULL,
    tty INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    code INTEGER,
    reason TEXT
) STRICT;
CREATE INDEX execs_by_user ON execs (user, id);
