-- Who holds a run: pids are used again, so the row says when the process began and on which boot of which machine.
ALTER TABLE runs ADD COLUMN machine TEXT;
ALTER TABLE runs ADD COLUMN process_start TEXT;

-- Processes that agents of a run started and that have not ended, so that whoever resumes the run ends them first.
-- `mark` is in the environment of the process and of all that it starts.
CREATE TABLE processes (
  mark     TEXT PRIMARY KEY,
  run      TEXT NOT NULL,
  task     TEXT NOT NULL,
  step     TEXT NOT NULL,
  attempt  INTEGER NOT NULL,
  machine  TEXT NOT NULL,
  pid      INTEGER NOT NULL,                   -- also its process group
  start    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX processes_of_run ON processes (run);

-- Who claimed a key of `once`: a step that finds it claimed waits for as long as that process executes the run.
-- `state` may also be `unknown`: the attempt was broken off, and whether it took effect is not known.
ALTER TABLE once ADD COLUMN owner TEXT;
ALTER TABLE once ADD COLUMN attempt INTEGER;
ALTER TABLE once ADD COLUMN what TEXT;         -- what the step does: its verb and target
