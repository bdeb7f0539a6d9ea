"""SQLite: the schema, the one writer, the readers."""
