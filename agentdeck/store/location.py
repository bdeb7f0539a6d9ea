"""The path of the store: one file per user by default."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_dir


def database(explicit: str | Path | None = None) -> Path:
    """The explicit path, else AGENTDECK_DB, else agentdeck.db in the user's data folder."""
    if explicit:
        return Path(explicit).expanduser()
    if named := os.environ.get("AGENTDECK_DB"):
        return Path(named).expanduser()
    return Path(user_data_dir("agentdeck", appauthor=False)) / "agentdeck.db"
