-- The newest snapshot of each run's view, after the event `seq`: only the events after it have to be folded. It
-- saves time and holds nothing that the log does not. `version` is that of its format; `data` is compressed JSON.
CREATE TABLE view_snapshots (
  run     TEXT PRIMARY KEY,
  seq     INTEGER NOT NULL,
  version TEXT NOT NULL,
  data    BLOB NOT NULL
);
