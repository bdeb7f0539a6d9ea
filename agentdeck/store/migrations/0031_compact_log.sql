-- The log in fewer bytes: runs and kinds of events by number, and the place of an event in one integer, the key of a
-- table that grows at its end only, so that its pages are full.

-- Runs in the log. A number is never used again: what `prune` has not deleted yet cannot become another run's.
CREATE TABLE run_numbers (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  run    TEXT NOT NULL UNIQUE
);

CREATE TABLE event_kinds (
  number INTEGER PRIMARY KEY,
  name   TEXT NOT NULL UNIQUE
);

-- The events of all runs. `id` is the number of the run times 2^32, plus the number of the event in its run. It also
-- fences: two processes that both believe they own a run cannot both write the same number.
CREATE TABLE event_log (
  id     INTEGER PRIMARY KEY,
  at     REAL NOT NULL,
  kind   INTEGER NOT NULL,
  task   TEXT NOT NULL,
  step   TEXT NOT NULL,
  data   TEXT NOT NULL,                       -- json: the event's other fields, without those that follow from the row
  result TEXT                                 -- the hash of its output or inputs, where these are large
);

INSERT INTO run_numbers (run) SELECT DISTINCT run FROM events ORDER BY run;
INSERT INTO event_kinds (name) SELECT DISTINCT kind FROM events;
INSERT INTO event_log (id, at, kind, task, step, data, result)
  SELECT n.number * 4294967296 + seq, at, k.number, task, step, data, result
  FROM run_numbers n CROSS JOIN events e ON e.run = n.run CROSS JOIN event_kinds k ON k.name = e.kind
  ORDER BY n.number, seq;
DROP TABLE events;

-- The log as it reads best. A range of `seq` is not looked up in it but searched for.
CREATE VIEW events (run, seq, at, kind, task, step, data, result) AS
  SELECT n.run, l.id - n.number * 4294967296, l.at, k.name, l.task, l.step, l.data, l.result
  FROM run_numbers n
  CROSS JOIN event_log l ON l.id BETWEEN n.number * 4294967296 AND n.number * 4294967296 + 4294967295
  CROSS JOIN event_kinds k ON k.number = l.kind;

-- A process that began before this change goes on writing its events here.
CREATE TRIGGER events_written INSTEAD OF INSERT ON events BEGIN
  INSERT OR IGNORE INTO run_numbers (run) VALUES (new.run);
  INSERT OR IGNORE INTO event_kinds (name) VALUES (new.kind);
  INSERT INTO event_log (id, at, kind, task, step, data, result)
    SELECT n.number * 4294967296 + new.seq, new.at, k.number, new.task, new.step, new.data, new.result
    FROM run_numbers n, event_kinds k WHERE n.run = new.run AND k.name = new.kind;
END;
