-- Who waits for one of a provider's places, so that others leave it the next one: by owner, as in core/sharing.py.
ALTER TABLE providers ADD COLUMN waiting TEXT NOT NULL DEFAULT '{}';  -- json
-- The newest change among the reservations that were deleted: who has not read that far has to read all again.
ALTER TABLE providers ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
