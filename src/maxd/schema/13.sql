-- Of a release that has served: when it took the app's traffic first, and when last, by whom (null:
-- by itself) and from which release.
ALTER TABLE deploys ADD COLUMN served_at TEXT;
ALTER TABLE deploys ADD COLUMN since TEXT;
ALTER TABLE deploys ADD COLUMN since_by TEXT;
ALTER TABLE deploys ADD COLUMN since_from INTEGER;
-- The newest change of the configuration of its app, and of its network, when it took it first.
ALTER TABLE deploys ADD COLUMN config INTEGER;
-- How it is told that it was cancelled.
ALTER TABLE deploys ADD COLUMN cancelled TEXT;
UPDATE deploys SET served_at = finished_at, since = finished_at,
    since_by = (SELECT name FROM users WHERE id = deploys.user)
    WHERE state = 'live';
