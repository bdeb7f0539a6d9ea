"""How long agents take, over all runs of a workflow: `durations` owns the newest seconds of each agent.

A workflow is its name and the folder it came from: two of one name in two places do not mislead each other, and
an edited one still knows what it knew. Under no agent's name (`TASK`) are the seconds of work of whole tasks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from agentdeck.store.codec import text_of

#: So many attempts are remembered.
MEMORY = 200
TASK = ""


def save_durations(
    connection: sqlite3.Connection, workflow: str, folder: str, durations: Mapping[str, Sequence[float]]
) -> None:
    """Add what a run took, per agent, to what is known; the newest last."""
    for agent, taken in durations.items():
        if not taken:
            continue
        where = (workflow, folder, agent)
        sql = "SELECT samples FROM durations WHERE workflow = ? AND folder = ? AND agent = ?"
        row = connection.execute(sql, where).fetchone()
        known = [*(json.loads(row[0]) if row else ()), *(round(seconds, 6) for seconds in taken)]
        connection.execute(
            "INSERT OR REPLACE INTO durations (workflow, folder, agent, samples) VALUES (?, ?, ?, ?)",
            (*where, text_of(known[-MEMORY:])),
        )
