-- How the release is run (JSON), as it was told from its source: what a build leaves
-- behind may look like another project.
ALTER TABLE deploys ADD COLUMN plan TEXT;
