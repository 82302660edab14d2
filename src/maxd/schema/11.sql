-- What is deleted is kept for a while, so its name may be another's meanwhile. `networks` and
-- `apps` are those that are not deleted; only `all_networks` and `all_apps` can be written.
CREATE TABLE new_networks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    deleted_at TEXT,
    deleted_by TEXT
) STRICT;
INSERT INTO new_networks(id, name, created_at) SELECT id, name, created_at FROM networks;
DELETE FROM sqlite_sequence WHERE name = 'new_networks';
INSERT INTO sqlite_sequence(name, seq) SELECT 'new_networks', seq FROM sqlite_sequence WHERE name = 'networks';
DROP TABLE networks;
ALTER TABLE new_networks RENAME TO networks;
ALTER TABLE networks RENAME TO all_networks;
CREATE UNIQUE INDEX networks_by_name ON all_networks (name) WHERE deleted_at IS NULL;
CREATE INDEX networks_by_deletion ON all_networks (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE new_apps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network INTEGER NOT NULL REFERENCES all_networks ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    -- The release that serves, and since when.
    release INTEGER,
    deployed_at TEXT,
    -- The number of the newest release, live or not.
    releases INTEGER NOT NULL DEFAULT 0,
    -- How many instances it has when it runs, and whether its user has stopped it.
    instances INTEGER NOT NULL DEFAULT 1,
    stopped INTEGER NOT NULL DEFAULT 0,
    -- An app that is deleted with its network has the network's time.
    deleted_at TEXT,
    deleted_by TEXT
) STRICT;
INSERT INTO new_apps(id, network, name, created_at, release, deployed_at, releases, instances, stopped)
    SELECT id, network, name, created_at, release, deployed_at, releases, instances, stopped FROM apps;
DELETE FROM sqlite_sequence WHERE name = 'new_apps';
INSERT INTO sqlite_sequence(name, seq) SELECT 'new_apps', seq FROM sqlite_sequence WHERE name = 'apps';
DROP TABLE apps;
ALTER TABLE new_apps RENAME TO apps;
ALTER TABLE apps RENAME TO all_apps;
CREATE UNIQUE INDEX apps_by_name ON all_apps (network, name) WHERE deleted_at IS NULL;
CREATE INDEX apps_by_deletion ON all_apps (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX apps_by_network ON all_apps (network);

CREATE VIEW networks AS SELECT id, name, created_at FROM all_networks WHERE deleted_at IS NULL;
CREATE VIEW apps AS SELECT id, network, name, created_at, release, deployed_at, releases, instances, stopped
    FROM all_apps WHERE deleted_at IS NULL;
