"""A pydantic model for each document that `--json` prints. Imported only to print or describe them."""
