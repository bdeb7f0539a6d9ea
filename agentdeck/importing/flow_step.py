"""What imported flows of CrewAI call in their steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from agentdeck.errors import Permanent
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.model import Data


def value(value: Data) -> Data:
    """The value itself: what an expression gave."""
    return value


def tool(tool: str, arguments: Mapping[str, Data]) -> Data:
    """What a CrewAI tool returns: of a class, `module:Class`, that is made without arguments."""
    made = resolve(tool, Path(sys.path[0] or "."))()
    if not callable(getattr(made, "run", None)):
        raise Permanent(f"{tool} is no tool: it has no method run")
    return made.run(**arguments)
