-- Seconds since the run began in which no process ran it: between a drain, a crash or its end, and a resume or retry.
ALTER TABLE runs ADD COLUMN idle REAL NOT NULL DEFAULT 0;
