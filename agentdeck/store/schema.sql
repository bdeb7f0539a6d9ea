-- Version 1 of the store. Never edited once released: what comes later is migrations/0002_….sql and so on.
-- Times are seconds since the epoch. `json` in a column's remark: the text is JSON.

-- A workflow as it was when a run began, by the hash of its definition. Shared by all its runs.
CREATE TABLE definitions (
  identity TEXT PRIMARY KEY,
  text     TEXT NOT NULL                      -- json
) WITHOUT ROWID;

-- One row per run: what lists and filters need. The truth is in its events; this row is kept beside them by
-- the run's owner. `owner`, `lease_until`, `pid`, `host` say which process that is, and until when.
CREATE TABLE runs (
  run             TEXT PRIMARY KEY,
  workflow        TEXT NOT NULL,
  identity        TEXT NOT NULL,
  state           TEXT NOT NULL,              -- running paused drained done failed cancelled
  started         REAL NOT NULL,
  ended           REAL,
  simulated       INTEGER NOT NULL DEFAULT 0,
  tags            TEXT NOT NULL DEFAULT '[]', -- json
  source          TEXT NOT NULL DEFAULT '{}', -- json: where workflow and tasks came from
  options         TEXT NOT NULL DEFAULT '{}', -- json: how it was launched
  tasks_total     INTEGER NOT NULL DEFAULT 0,
  tasks_done      INTEGER NOT NULL DEFAULT 0,
  tasks_failed    INTEGER NOT NULL DEFAULT 0,
  tasks_cancelled INTEGER NOT NULL DEFAULT 0,
  summary         TEXT,                       -- json, once it ended
  owner           TEXT,
  lease_until     REAL,
  pid             INTEGER,
  host            TEXT
);
CREATE INDEX runs_newest ON runs (started, run);
CREATE INDEX runs_of_workflow ON runs (workflow, started, run);
CREATE INDEX runs_in_state ON runs (state, started, run);

-- The log of every run, in order, without gaps. The primary key also fences: two processes that both believe
-- they own a run cannot both write the same number.
CREATE TABLE events (
  run    TEXT NOT NULL,
  seq    INTEGER NOT NULL,
  at     REAL NOT NULL,
  kind   TEXT NOT NULL,
  task   TEXT NOT NULL,
  step   TEXT NOT NULL,
  data   TEXT NOT NULL,                       -- json: the event's other fields, defaults left out
  result TEXT,                                -- the hash of its output or inputs, where these are large
  PRIMARY KEY (run, seq)
) WITHOUT ROWID;

-- Large values, by the hash of their text; equal values are stored once, over all runs.
CREATE TABLE results (
  hash TEXT PRIMARY KEY,
  data TEXT NOT NULL,                         -- json
  size INTEGER NOT NULL
);

-- What agents printed and logged. `id` rises over all runs.
CREATE TABLE logs (
  id      INTEGER PRIMARY KEY,
  run     TEXT NOT NULL,
  at      REAL NOT NULL,
  task    TEXT NOT NULL,
  step    TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  level   TEXT NOT NULL,
  text    TEXT NOT NULL
);
CREATE INDEX logs_of_run ON logs (run);

-- Dead letters: one row per step that finally failed, each time it did.
CREATE TABLE letters (
  id       INTEGER PRIMARY KEY,
  run      TEXT NOT NULL,
  task     TEXT NOT NULL,
  step     TEXT NOT NULL,
  agent    TEXT NOT NULL,
  identity TEXT NOT NULL,                     -- of the definition it failed under
  cause    TEXT NOT NULL,                     -- fingerprint of agent, kind of fault, shape of message
  fault    TEXT NOT NULL,                     -- json
  inputs   TEXT,                              -- hash in results
  attempts INTEGER NOT NULL,
  state    TEXT NOT NULL DEFAULT 'open',      -- open retried closed dropped
  why      TEXT NOT NULL DEFAULT '',
  at       REAL NOT NULL
);
CREATE INDEX letters_of_run ON letters (run, task, step);
CREATE INDEX letters_by_cause ON letters (state, cause);

-- Effects that happen once, for good, across runs. `intent` is committed before the effect, `done` with the
-- result after it; an intent whose process died means that nobody knows.
CREATE TABLE once (
  key    TEXT PRIMARY KEY,
  state  TEXT NOT NULL,                       -- intent done
  result TEXT,                                -- hash in results
  run    TEXT NOT NULL,
  step   TEXT NOT NULL,
  at     REAL NOT NULL
) WITHOUT ROWID;

-- Results by inputs and definition, until they expire.
CREATE TABLE cache (
  key     TEXT PRIMARY KEY,
  result  TEXT NOT NULL,                      -- hash in results
  expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX cache_by_expiry ON cache (expires);

-- How long agents took in earlier runs: what the longest remaining path is estimated with.
CREATE TABLE durations (
  workflow TEXT NOT NULL,
  agent    TEXT NOT NULL,
  count    INTEGER NOT NULL,
  mean     REAL NOT NULL,
  PRIMARY KEY (workflow, agent)
) WITHOUT ROWID;

-- What other processes ask a run's owner to do. Put by anyone, taken and answered by the owner.
CREATE TABLE commands (
  id       INTEGER PRIMARY KEY,
  run      TEXT NOT NULL,
  verb     TEXT NOT NULL,
  args     TEXT NOT NULL,                     -- json
  who      TEXT NOT NULL,
  at       REAL NOT NULL,
  taken_at REAL,
  answer   TEXT                               -- json
);
CREATE INDEX commands_open ON commands (run, id) WHERE taken_at IS NULL;
