CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT;

-- Only hashes (SHA-256) of tokens are kept: they have 160 random bits or more.
CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    hash BLOB NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    created_at TEXT NOT NULL,
    used_at TEXT,
    revoked_at TEXT
) STRICT;

-- Times are Unix seconds where they are compared.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    api_token INTEGER NOT NULL REFERENCES api_tokens ON DELETE CASCADE,
    access_hash BLOB NOT NULL UNIQUE,
    access_expires INTEGER NOT NULL,
    refresh_hash BLOB NOT NULL UNIQUE,
    -- The refresh token before the newest: presented again, it was stolen.
    used_refresh_hash BLOB UNIQUE,
    expires INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE networks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner INTEGER NOT NULL REFERENCES users,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE apps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network INTEGER NOT NULL REFERENCES networks ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    -- The release that serves, and since when.
    release INTEGER,
    deployed_at TEXT,
    -- The number of the newest release, live or not.
    releases INTEGER NOT NULL DEFAULT 0,
    UNIQUE (network, name)
) STRICT;

CREATE TABLE deploys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app INTEGER NOT NULL REFERENCES apps ON DELETE CASCADE,
    user INTEGER NOT NULL REFERENCES users,
    state TEXT NOT NULL,
    phase TEXT,
    error TEXT,
    release INTEGER,
    kind TEXT,
    created_app INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;

CREATE INDEX deploys_by_app ON deploys (app, id);
CREATE INDEX apps_by_network ON apps (network, name);
