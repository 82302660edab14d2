-- Lines in blocks of one app and kind; `seq` is that of the last, and no two blocks overlap.
CREATE TABLE blocks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- How many lines.
    lines INTEGER NOT NULL,
    network INTEGER NOT NULL,
    -- Of a network's own lines the network, negative.
    app INTEGER NOT NULL,
    -- 0: what the app says; 1: builds; 2: requests; 3: detached commands.
    kind INTEGER NOT NULL,
    -- Bytes, with what the row itself takes.
    size INTEGER NOT NULL,
    -- The times of the first and the last line, and a bit for each level.
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    levels INTEGER NOT NULL,
    -- Last, so that what is skipped is not read.
    data BLOB NOT NULL
) STRICT;
CREATE INDEX blocks_of_app ON blocks (app, kind, seq, size);
CREATE INDEX blocks_of_network ON blocks (network, seq, kind);
INSERT INTO sqlite_sequence(name, seq) SELECT 'blocks', seq FROM sqlite_sequence WHERE name = 'lines';
-- What retention has dropped: everything up to this sequence number.
ALTER TABLE dropped RENAME TO dropped1;
CREATE TABLE dropped (
    network INTEGER NOT NULL,
    app INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (app, kind)
) STRICT;
INSERT INTO dropped(network, app, kind, through)
    SELECT network, CASE app WHEN 0 THEN -network ELSE app END, build, through FROM dropped1;
DROP TABLE dropped1;
