-- What is known of each provider, by all processes. `rev` counts the changes to its reservations; `longest` is
-- the longest window in seconds that anybody looks at, so that what is older can go.
CREATE TABLE providers (
  provider       TEXT PRIMARY KEY,
  rev            INTEGER NOT NULL DEFAULT 0,
  longest        REAL NOT NULL DEFAULT 0,
  cooldown_until REAL NOT NULL DEFAULT 0,
  learnt         TEXT NOT NULL DEFAULT '{}'   -- json: what it said it allows per minute
) WITHOUT ROWID;

-- The sliding log of calls to providers: one row per call, reserved before it and settled after it. `rev` is
-- the provider's at the last change. `released` is when the call ended.
CREATE TABLE reservations (
  id         INTEGER PRIMARY KEY,
  provider   TEXT NOT NULL,
  rev        INTEGER NOT NULL,
  run        TEXT NOT NULL,
  owner      TEXT NOT NULL,
  task       TEXT NOT NULL,
  step       TEXT NOT NULL,
  attempt    INTEGER NOT NULL,
  at         REAL NOT NULL,
  requests   INTEGER NOT NULL,
  tokens_in  INTEGER NOT NULL,
  tokens_out INTEGER NOT NULL,
  settled    INTEGER NOT NULL DEFAULT 0,
  released   REAL
);
CREATE INDEX reservations_changed ON reservations (provider, rev);
CREATE INDEX reservations_old ON reservations (provider, at);
