"""The author that this process records with commands and decisions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentdeck.scheduler.events import Author

#: Environment variable that the console, or the operator for Airflow, sets for its engine processes: their tool.
TOOL = "AGENTDECK_TOOL"


def author(by: str = "") -> Author:
    """The user of this process with the tool that started it; `by` is the name of `--by`."""
    from agentdeck.engine.author import current_author

    return current_author(started_from(), by)


_tool = "cli"


def started_from() -> str:
    """`console` or `airflow` in an engine process that one of these started, else `cli`. The variable is removed,
    so that programs which command agents start do not inherit it."""
    global _tool
    _tool = os.environ.pop(TOOL, _tool)
    return _tool
