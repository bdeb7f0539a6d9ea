-- When the request of a call was sent, by which calls of a rate with a burst are spaced out. NULL: not sent yet.
ALTER TABLE reservations ADD COLUMN sent REAL;
UPDATE reservations SET sent = at WHERE stage > 0;
