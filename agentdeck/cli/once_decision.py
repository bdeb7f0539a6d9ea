"""`letters retry --took-effect RESULT | --again`: an operator decides whether a `once` step took effect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agentdeck.cli.resume_session import Execution
    from agentdeck.store.letters import Letter
    from agentdeck.workflow.model import Data


def decide(chosen: Sequence[Letter], took_effect: str | None, again: bool, how: Execution) -> None:
    """Record it. Nothing to do without one of the two options."""
    from agentdeck.cli.error_output import say
    from agentdeck.engine import once_decision
    from agentdeck.operations.author import author
    from agentdeck.operations.settings import database

    if took_effect is None and not again:
        return
    if took_effect is not None and again:
        raise click.UsageError("--took-effect and --again exclude each other: it took effect, or it did not")
    if took_effect is not None and len(chosen) != 1:
        raise click.UsageError("--took-effect takes one letter: each has its own result")
    result = None if took_effect is None else (result_of(took_effect),)
    keys = once_decision.decide(database(how.db), chosen, result, author(how.by))
    said = "will be executed again" if result is None else "is recorded with this result, and not executed"
    for key in dict.fromkeys(keys.values()):
        say(f"once key {key} {said}")


def result_of(text: str) -> Data:
    """JSON where it is that, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
