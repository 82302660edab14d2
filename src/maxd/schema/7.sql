-- How many instances an app has when it runs, and whether its user has stopped it.
ALTER TABLE apps ADD COLUMN instances INTEGER NOT NULL DEFAULT 1;
ALTER TABLE apps ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;
