-- How far the log of a run was exported as spans to a receiver: all spans that had ended by event `seq` were sent.
CREATE TABLE exports (
  run      TEXT NOT NULL,
  receiver TEXT NOT NULL,                       -- its URL, without user, password and query
  seq      INTEGER NOT NULL,
  at       REAL NOT NULL,
  PRIMARY KEY (run, receiver)
) WITHOUT ROWID;
