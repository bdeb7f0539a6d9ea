-- Who waits for one of a provider's places, so that others leave it the next one: by owner, since when, until when
-- that holds unless it asks again, and how many calls at once it would go along with.
ALTER TABLE providers ADD COLUMN waiting TEXT NOT NULL DEFAULT '{}';  -- json
