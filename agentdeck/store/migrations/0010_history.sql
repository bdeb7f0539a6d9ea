-- History that answers: lists by tag, by text and by any pair of filters; durations as samples, by place.

-- Durations of one name in two folders are two workflows'. `samples` are the newest seconds, for quantiles.
DROP TABLE durations;
CREATE TABLE durations (
  workflow TEXT NOT NULL,
  folder   TEXT NOT NULL,
  agent    TEXT NOT NULL,
  samples  TEXT NOT NULL,                      -- json: the newest last
  PRIMARY KEY (workflow, folder, agent)
) WITHOUT ROWID;

CREATE INDEX runs_of_workflow_in_state ON runs (workflow, state, started, run);

-- The tags of runs and their searchable text: kept by triggers, so whoever writes a run need not know of them.
CREATE TABLE tags (
  tag     TEXT NOT NULL,
  started REAL NOT NULL,
  run     TEXT NOT NULL,
  PRIMARY KEY (tag, started, run)
) WITHOUT ROWID;

CREATE TRIGGER tags_of_new_run AFTER INSERT ON runs WHEN new.tags <> '[]' BEGIN
  INSERT OR IGNORE INTO tags (tag, started, run)
    SELECT value, new.started, new.run FROM json_each(new.tags);
END;
CREATE TRIGGER tags_of_gone_run AFTER DELETE ON runs WHEN old.tags <> '[]' BEGIN
  DELETE FROM tags WHERE started = old.started AND run = old.run
    AND tag IN (SELECT value FROM json_each(old.tags));
END;
INSERT OR IGNORE INTO tags (tag, started, run) SELECT value, started, run FROM runs, json_each(runs.tags);
