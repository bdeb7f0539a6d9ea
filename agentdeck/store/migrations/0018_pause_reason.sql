-- Why a paused run is paused; empty where it is not, or where the operator gave no reason.
ALTER TABLE runs ADD COLUMN pause_reason TEXT NOT NULL DEFAULT '';
