-- Variables of apps, and of networks for all their apps.
CREATE TABLE variables (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network INTEGER NOT NULL REFERENCES networks ON DELETE CASCADE,
    -- Null: all apps of the network have it.
    app INTEGER REFERENCES apps ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    -- 0 once it was changed or deleted: it is kept while instances run with it.
    current INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE UNIQUE INDEX variables_current ON variables (network, ifnull(app, 0), name) WHERE current;
CREATE INDEX variables_by_app ON variables (app, name);

-- What the instances of an app run with, also after a restart of maxd.
CREATE TABLE applied (
    app INTEGER NOT NULL REFERENCES apps ON DELETE CASCADE,
    variable INTEGER NOT NULL REFERENCES variables ON DELETE CASCADE,
    PRIMARY KEY (app, variable)
) STRICT, WITHOUT ROWID;

CREATE INDEX applied_by_variable ON applied (variable);
