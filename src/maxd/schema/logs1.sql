CREATE TABLE lines (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    network INTEGER NOT NULL,
    app INTEGER,
    -- 1: a build's line, kept apart from what the app says.
    build INTEGER NOT NULL,
    source INTEGER NOT NULL,
    release INTEGER,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX lines_of_app ON lines (app, build, seq);
CREATE INDEX lines_of_network ON lines (network, build, seq);
CREATE INDEX lines_by_time ON lines (time);
-- What retention has dropped: everything up to this sequence number.
CREATE TABLE dropped (
    network INTEGER NOT NULL,
    app INTEGER NOT NULL,
    build INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (network, app, build)
) STRICT;
