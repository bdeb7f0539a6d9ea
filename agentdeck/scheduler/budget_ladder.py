"""The rungs of a budget: what becomes cheaper as it runs low, and how the work ends when it is used up."""

from __future__ import annotations

from dataclasses import dataclass

from agentdeck.limits.budget import Ledger, dollars
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.cancellation import Cancellation
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import Step

EFFECTS = {
    "reduce": "shorter answers from now on",
    "downgrade": "one tier lower from now on",
    "drop": "steps of low priority are skipped from now on",
}


@dataclass(slots=True, eq=False)
class BudgetLadder:
    """Records the rungs of all budgets of the run as they are reached."""

    _state: RunState
    _recorder: Recorder
    _cancellation: Cancellation

    def update(self, task: str, at: float) -> None:
        """Put into force each easing rung that a budget of this task has reached."""
        for name, ledger in self._state.accounts.of(task):
            for rung in ledger.due():
                text = f"budget of {_owner(name)} at {ledger.share():.0%}: {EFFECTS[rung]} ({ledger.as_text()})"
                self._recorder.record(ev.Noted(at, text, name, "", {"rung": rung, "budget": name}))

    def end(self, name: str, ledger: Ledger, wanted: ev.Reserved) -> None:
        """The budget of this name does not admit one more attempt, and no attempt under way can return anything:
        ask the operator or stop, as its last rung says."""
        assert ledger.end is not None
        at, why = wanted.at, _shortage(name, ledger, wanted)
        if ledger.end[1] == "ask":
            offers = f"for the rest and the possible commands: agentdeck budget {self._state.run}"
            self._recorder.record(ev.RunPaused(at, f"{why}; {self._remaining()}{offers}"))
        else:
            self._recorder.record(ev.Noted(at, f"{why}; stopped", name, "", {"rung": "stop", "budget": name}))
            self._cancellation.requested(ev.CancelAsked(at, name, "", "the budget"))

    def refuse(self, step: Step, name: str, ledger: Ledger, wanted: ev.Reserved) -> None:
        """End one step that the budget of this name does not admit."""
        self._cancellation.cancel(step, wanted.at, _shortage(name, ledger, wanted))

    def shares(self, task: str) -> str:
        """How much of each budget of a task is used, such as `83% of the run`."""
        accounts = self._state.accounts
        return "; ".join(f"{ledger.share():.0%} of {name or 'the run'}" for name, ledger in accounts.of(task))

    def _remaining(self) -> str:
        """How many prompts of open tasks are left, and what they cost at the mean so far."""
        steps = [s for task in self._state.tasks.values() for s in task.all_steps() if s.rule.metered]
        left = sum(not s.ended and s.items is None for s in steps)
        paid, usd = self._state.accounts.prompts, self._state.accounts.prompts_usd
        about = f", about {dollars(usd / paid * left)}" if paid and usd else ""
        return f"{left} prompts of open tasks are left{about}; " if left else ""


def _shortage(name: str, ledger: Ledger, wanted: ev.Reserved) -> str:
    tokens, usd = ev.hold_of(wanted).likely
    needs = dollars(usd) if ledger.usd is not None else f"{tokens:,} tokens"
    return f"budget of {_owner(name)}: {ledger.as_text()}; the next prompt needs about {needs}"


def _owner(name: str) -> str:
    return f"task {name}" if name else "the run"
