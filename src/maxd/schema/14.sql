-- The SHA-256 of what was deployed; null for deploys that were made before.
ALTER TABLE deploys ADD COLUMN manifest TEXT;
-- When something of the upload came last.
ALTER TABLE deploys ADD COLUMN sent_at TEXT;
-- What the release takes on the disk.
ALTER TABLE deploys ADD COLUMN bytes INTEGER;
