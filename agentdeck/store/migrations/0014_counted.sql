-- From when a call counts. `stage`: 0 reserved (not sent: it counts as now), 1 sent (counts from `at` at the latest),
-- 2 counted from `at`. Output tokens count from `released`.
ALTER TABLE reservations ADD COLUMN stage INTEGER NOT NULL DEFAULT 2;
-- What is expected of an answer under way, as in core/outlook.py. NULL: nothing is, so it may have `tokens_out` at once.
ALTER TABLE reservations ADD COLUMN said INTEGER;
ALTER TABLE reservations ADD COLUMN said_at REAL;
ALTER TABLE reservations ADD COLUMN likely REAL;
ALTER TABLE reservations ADD COLUMN spread REAL;
ALTER TABLE reservations ADD COLUMN pace REAL;
