-- Every change of a configuration: an app's, or a network's for itself and all its apps.
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network INTEGER NOT NULL REFERENCES all_networks ON DELETE CASCADE,
    -- Null: the network's own.
    app INTEGER REFERENCES all_apps ON DELETE CASCADE,
    -- Counts from 1 in each app and in each network, without a hole.
    number INTEGER NOT NULL,
    time TEXT NOT NULL,
    -- Null when that is not known.
    user TEXT,
    what TEXT NOT NULL,
    -- What was set behind this change, variables apart: a list (JSON) of kind, name and value.
    settings TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX history_by_number ON history (network, ifnull(app, 0), number);
CREATE INDEX history_by_app ON history (app);

INSERT INTO history(network, number, time, what, settings)
    SELECT id, 1, created_at, 'created',
        (SELECT json_group_array(json(item)) FROM
            (SELECT json_array('name', '', n.name) AS item UNION ALL
             SELECT json_array('key', '', CAST(number AS TEXT)) FROM network_keys
                WHERE network = n.id AND number > 1 UNION ALL
             SELECT json_array('webhook', url, '') FROM webhooks WHERE network = n.id))
    FROM all_networks n;
INSERT INTO history(network, app, number, time, what, settings)
    SELECT network, id, 1, created_at, 'created',
        json_array(json_array('name', '', name), json_array('instances', '', CAST(instances AS TEXT)))
    FROM all_apps;

-- A row is current from one change to another.
DROP INDEX variables_current;
ALTER TABLE variables ADD COLUMN since INTEGER NOT NULL DEFAULT 1;
-- Null while it is.
ALTER TABLE variables ADD COLUMN until INTEGER;
UPDATE variables SET until = 1 WHERE NOT current;
ALTER TABLE variables DROP COLUMN current;
CREATE UNIQUE INDEX variables_current ON variables (network, ifnull(app, 0), name) WHERE until IS NULL;
CREATE INDEX variables_by_until ON variables (network, app, until);
