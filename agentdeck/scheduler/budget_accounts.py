"""The budgets of a run: its own, and one for each of its open tasks."""

from __future__ import annotations

from dataclasses import replace

from agentdeck.limits.budget import NO_HOLD, Hold, Ledger
from agentdeck.scheduler.events import Usage
from agentdeck.workflow.model import Budget, Data

INFINITE = float("inf")


class BudgetAccounts:
    """What attempts reserve and use of the budgets. Without a budget nothing is stored.

    A nested task (`3/review`) uses the budget of the task that contains it. The name of a budget is empty for the
    run's, else the id of the task. `lowest`: an operator chose the lowest tier for the rest of the run.
    """

    def __init__(self, budget: Budget | None) -> None:
        self.run = Ledger(budget) if budget is not None else None
        self._each = budget.task if budget is not None else None
        self.tasks: dict[str, Ledger] = {}
        self.prompts = 0
        self.prompts_usd = 0.0
        self.lowest = False

    @property
    def bounds_usd(self) -> bool:
        """Whether any budget is in dollars."""
        return any(one is not None and one.usd is not None for one in (self.run, self._each))

    def of(self, task: str) -> list[tuple[str, Ledger]]:
        """The budgets that apply to a task, by name."""
        found = [("", self.run)] if self.run is not None else []
        if self._each is not None:
            top = task.partition("/")[0]
            ledger = self.tasks.get(top)
            if ledger is None:
                ledger = self.tasks[top] = Ledger(self._each)
            found.append((top, ledger))
        return found

    def savings(self, task: str) -> list[str]:
        """What makes prompts of this task cheaper: rungs in force, and `routing` for the lowest tier."""
        rungs = [rung for rung in ("reduce", "downgrade") if self.in_force(task, rung)]
        return [*(one for one in rungs if one == "reduce" or not self.lowest), *["routing"] * self.lowest]

    def in_force(self, task: str, rung: str) -> bool:
        """Whether a budget that applies to the task has reached this rung."""
        return any(rung in ledger.rungs for _, ledger in self.of(task))

    def left(self, task: str, own: Hold = NO_HOLD) -> tuple[float, float]:
        """Tokens and dollars that the budgets of a task leave, without regard to what is held; infinite where
        there is no bound. `own` is what an attempt of the task has used so far."""
        each = [ledger.left(own) for _, ledger in self.of(task)]
        return min((one[0] for one in each), default=INFINITE), min((one[1] for one in each), default=INFINITE)

    def refuses(self, task: str, hold: Hold, own: Hold = NO_HOLD) -> tuple[str, Ledger] | None:
        """The name and ledger of the first budget without room for an attempt. `own` is what it holds already."""
        return next((one for one in self.of(task) if not one[1].admits(hold, own)), None)

    def hold(self, task: str, hold: Hold) -> None:
        for _, ledger in self.of(task):
            ledger.hold(hold)

    def grow(self, task: str, before: Hold, after: Hold) -> None:
        """Replace what is held for an attempt under way."""
        for _, ledger in self.of(task):
            ledger.release(before)
            ledger.hold(after)

    def settle(self, task: str, held: Hold, usage: Usage | None, *, lost: bool) -> None:
        """An attempt has ended. Where its use is unknown, its likely use counts if it is `lost`, else nothing."""
        likely = held.likely
        if usage is None:
            used = likely if lost else (0, 0.0)
        else:
            tokens = likely[0] if usage.tokens_in is None else usage.tokens_in + (usage.tokens_out or 0)
            used = tokens, likely[1] if usage.usd is None else usage.usd
            if usage.usd is not None:
                self.prompts += 1
                self.prompts_usd += usage.usd
        for _, ledger in self.of(task):
            ledger.settle(held, used)

    def enforce(self, name: str, rung: str) -> None:
        """From now on this rung of the budget of this name is in force."""
        ledger = dict(self.of(name)).get(name) if name else self.run
        if ledger is not None and rung not in ledger.rungs:
            ledger.rungs.append(rung)

    def grant(self, name: str, value: Data) -> None:
        """Set a bound: `usd`, `tokens`, or `task.usd`, `task.tokens` for each task; or the `tier` of the rest."""
        if name == "tier":
            self.lowest = value is not None
            return
        of, _, measure = name.rpartition(".")
        if of == "task":
            self._each = replace(self._each or Budget(), **{measure: value})
            for ledger in self.tasks.values():
                ledger.grant(measure, value)
            return
        if self.run is None:
            self.run = Ledger(Budget())
        self.run.grant(measure, value)

    def bound(self, name: str) -> float | None:
        """The current bound of this name, None where there is none."""
        of, _, measure = name.rpartition(".")
        holder = self._each if of == "task" else self.run
        value: float | None = getattr(holder, measure) if holder is not None else None
        return value

    def close(self, task: str) -> None:
        """Drop the ledger of a task that has ended. What it used stays in the run's."""
        self.tasks.pop(task, None)
