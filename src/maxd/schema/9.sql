-- Secrets are variables whose value is sealed to their network's key; `value` is empty then.
ALTER TABLE variables ADD COLUMN sealed BLOB;
-- Of what was sealed when it was set: another one each time.
ALTER TABLE variables ADD COLUMN fingerprint TEXT;

CREATE TABLE network_keys (
    network INTEGER PRIMARY KEY REFERENCES networks ON DELETE CASCADE,
    -- Counts from 1; the next one is made by a rotation.
    number INTEGER NOT NULL,
    public BLOB NOT NULL,
    -- Encrypted under the master key, which is not in the database.
    private BLOB NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
