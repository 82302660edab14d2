-- Whether the build of a deploy uses nothing that former builds have left.
ALTER TABLE deploys ADD COLUMN no_cache INTEGER NOT NULL DEFAULT 0;
