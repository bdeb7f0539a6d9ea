"""Who needs a person now."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from agentdeck.core.view import View
from agentdeck.workflow.model import Approve

SILENT = 30.0


class Attention(NamedTuple):
    """Letters to look into, approvals that wait for an answer, attempts that gave no sign of life for SILENT
    seconds."""

    failed: int = 0
    asking: int = 0
    silent: int = 0


def attention(view: View, now: float, heard: Callable[[str, str], float | None] | None = None) -> Attention:
    """`heard` tells when the attempt of a task's step last said something; its start counts as well."""
    agents = view.definition.agents if view.definition else {}
    asking = silent = 0
    for (task, step), started in view.running.items():
        agent = agents.get(step.partition("[")[0])
        if agent is not None and isinstance(agent.does, Approve):
            asking += 1
        elif now - started.at > SILENT:
            last = heard(task, step) if heard else None
            silent += now - max(started.at, last or 0.0) > SILENT
    return Attention(view.letters, asking, silent)
