"""Filters and marks of run lists."""

from __future__ import annotations

import time
from datetime import datetime

from agentdeck.errors import UsageError
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.units import duration


def moment_from(text: str | None, option: str) -> float | None:
    """The Unix time that `2h` (ago) or an ISO date names; a date without an offset is in local time. Raises
    UsageError, which names `option`."""
    if text is None:
        return None
    try:
        return time.time() - duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        what = "write 2h or 30d for so long ago, or a date like 2026-01-31 or 2026-01-31T18:00"
        raise UsageError(f"{option}: {text!r} is no time; {what}") from None


def marks(row: RunRow) -> str:
    """Text after the workflow's name in a list: whether the run is simulated, and its tags."""
    return (" · simulated" if row.simulated else "") + "".join(f" #{tag}" for tag in row.tags)
