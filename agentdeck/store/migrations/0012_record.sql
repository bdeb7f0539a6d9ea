-- What is recorded of the operator and of the launch.

-- Who asks, from where and with what tool: json, as `Author`. `who` is its text.
ALTER TABLE commands ADD COLUMN author TEXT;

-- The tasks of a run as they were at its launch, in blocks of JSON lines. A block is shared by all runs that have
-- the same tasks at the same places. `packed` is 1 where `data` is compressed (zlib); `size` is its length before.
CREATE TABLE task_blocks (
  hash   TEXT PRIMARY KEY,
  size   INTEGER NOT NULL,
  packed INTEGER NOT NULL,
  data   BLOB NOT NULL
);

-- Which blocks a run has, by the number of the first task in each. The last row has a `count` of 0 and no block: the
-- list is complete. It is written before the run's own row where the tasks come from a file; `at` tells such a list
-- from one whose run was pruned.
CREATE TABLE run_tasks (
  run   TEXT NOT NULL,
  first INTEGER NOT NULL,
  count INTEGER NOT NULL,
  block TEXT,
  at    REAL NOT NULL,
  PRIMARY KEY (run, first)
) WITHOUT ROWID;
CREATE INDEX run_tasks_by_block ON run_tasks (block);
