"""Pure: folds of the event log that screens and pages show."""
