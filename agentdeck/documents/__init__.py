"""A pydantic model for each document that `--json` prints. Imported only to check or describe them."""
