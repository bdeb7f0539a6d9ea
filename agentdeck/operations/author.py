"""The author of what this command line does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentdeck.scheduler.events import Author

#: Set by the console for the engines that it starts: what they record was asked for there.
TOOL = "AGENTDECK_TOOL"


def author(by: str = "") -> Author:
    """The user of this process, with the tool it was started from; `by` is the name of `--by`."""
    from agentdeck.engine.author import current_author

    return current_author(started_from(), by)


_tool = "cli"


def started_from() -> str:
    """`cli`, or `console` for an engine that the console started. The variable is removed, so that a program
    which a command agent starts does not pass for the console."""
    global _tool
    _tool = os.environ.pop(TOOL, _tool)
    return _tool
