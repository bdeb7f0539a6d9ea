"""Commands to the process that holds a run."""

from __future__ import annotations

from agentdeck.errors import UsageError
from agentdeck.workflow.units import size


def budget_amount(text: str, tokens: bool) -> float:
    """Dollars (`0.40`, `$2`) or tokens (`100k`). Raises UsageError."""
    try:
        return size(text) if tokens else float(text.removeprefix("$"))
    except ValueError:
        what = "a number of tokens like 100k" if tokens else "dollars like 0.40"
        raise UsageError(f"{text!r} is not an amount; write {what}") from None
