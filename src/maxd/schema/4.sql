-- What is wrong, and what was.
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cause TEXT NOT NULL,
    -- Null for the host.
    network INTEGER REFERENCES networks ON DELETE CASCADE,
    -- Null for the host, and when the app is gone, whose name stays.
    app INTEGER REFERENCES apps ON DELETE SET NULL,
    app_name TEXT,
    -- The release that served when it was raised.
    release INTEGER,
    message TEXT NOT NULL,
    since TEXT NOT NULL,
    resolved_at TEXT
) STRICT;

CREATE INDEX alerts_by_network ON alerts (network, id);
CREATE INDEX alerts_by_app ON alerts (app);
-- The same thing is not wrong twice.
CREATE UNIQUE INDEX alerts_that_last ON alerts (cause, ifnull(app, 0)) WHERE resolved_at IS NULL;

CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network INTEGER NOT NULL REFERENCES networks ON DELETE CASCADE,
    url TEXT NOT NULL,
    -- As it is, since maxd signs with it.
    secret TEXT NOT NULL,
    created_at TEXT NOT NULL,
    delivered_at TEXT,
    error TEXT,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX webhooks_by_network ON webhooks (network, id);

-- The messages that wait, each webhook's in the order of their numbers.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook INTEGER NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    body TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    -- Unix milliseconds: when it was made, and when it is tried next.
    created INTEGER NOT NULL,
    due INTEGER NOT NULL
) STRICT;

CREATE INDEX deliveries_by_webhook ON deliveries (webhook, id);
