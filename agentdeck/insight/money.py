"""How the budget of a run stands, from its log."""

from __future__ import annotations

from collections.abc import Iterable

from agentdeck.core import events as ev
from agentdeck.core.accounts import Accounts
from agentdeck.workflow.model import Budget


def accounts_of(events: Iterable[ev.Event], budget: Budget | None) -> Accounts:
    """What was used and what is held after these events, as the run itself counts it."""
    accounts = Accounts(budget)
    held: dict[tuple[str, str], tuple[int, float]] = {}

    def settle(task: str, step: str, usage: ev.Usage | None, lost: bool) -> None:
        mine = held.pop((task, step), None)
        if mine is not None or usage is not None:
            accounts.settle(task, mine or (0, 0.0), usage, lost=lost)

    for event in events:
        match event:
            case ev.StepStarted() if event.model or event.reserved_tokens:
                held[event.task, event.step] = event.reserved_tokens, event.reserved_usd
                accounts.hold(event.task, held[event.task, event.step])
            case ev.StepSucceeded():
                settle(event.task, event.step, event.usage, True)
            case ev.AttemptFailed():
                settle(event.task, event.step, event.usage, event.fault.kind == "timeout")
            case ev.AttemptLost() | ev.StepFailed() | ev.StepSkipped() | ev.StepCancelled():
                settle(event.task, event.step, None, True)
            case ev.TaskEnded():
                accounts.close(event.task)
            case ev.LimitChanged() if event.name.startswith("budget."):
                accounts.grant(event.name.removeprefix("budget."), event.new)
            case ev.Noted() if event.data and "rung" in event.data:
                accounts.enter(str(event.data.get("budget", "")), str(event.data["rung"]))
    return accounts
