"""How long agents take, over all runs of a workflow: `durations` owns one mean per workflow and agent."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

#: Earlier runs weigh as much as this many steps at most, so that the mean follows what changes.
MEMORY = 1000


def save_durations(
    connection: sqlite3.Connection, workflow: str, durations: Mapping[str, tuple[int, float]]
) -> None:
    """Add a run's (count, mean seconds) per agent to what is known."""
    connection.executemany(
        "INSERT INTO durations (workflow, agent, count, mean) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (workflow, agent) DO UPDATE SET"
        f" mean = (min(count, {MEMORY}) * mean + excluded.count * excluded.mean)"
        f" / (min(count, {MEMORY}) + excluded.count), count = count + excluded.count",
        [(workflow, agent, count, mean) for agent, (count, mean) in durations.items() if count > 0],
    )
