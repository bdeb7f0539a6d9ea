"""Shows that nothing of a store is left open in this process: no thread that reads it, no file."""

from __future__ import annotations

import threading
import time
from pathlib import Path

OURS = ("agentdeck-aiosqlite", "agentdeck-writer")


def assert_all_closed(db: Path, seconds: float = 10.0) -> None:
    """Raises AssertionError, with what is open, if a thread or an open file of this store stays."""
    end = time.monotonic() + seconds
    while (found := [*_threads(), *_files(db)]) and time.monotonic() < end:
        time.sleep(0.01)
    assert not found, f"still open: {', '.join(found)}"


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in OURS]


def _files(db: Path) -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return []
    found = []
    for entry in folder.iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith(str(db.resolve())):
            found.append(target)
    return found
