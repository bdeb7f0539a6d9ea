"""Every limit of a run: what it is now, what is in use of it, and who waits because of it."""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.core.tally import AgentTally
from agentdeck.core.view import View
from agentdeck.workflow.model import Agent, Data, Retry, Timeout


class Limit(NamedTuple):
    """`name` as a change of it is told (`workers`, `agents.extract.timeout`). `use` and `waiting` are counts of
    steps, and for a timeout `use` is how many seconds the oldest attempt has run; None where they mean nothing.
    """

    name: str
    value: Data
    use: float | None = None
    waiting: int | None = None

    @property
    def setting(self) -> str:
        return self.name.rsplit(".", 1)[-1]

    @property
    def over(self) -> bool:
        """It was lowered below what is in use: what runs goes on, nothing new starts."""
        counted = self.setting != "timeout" and isinstance(self.value, int | float)
        return counted and self.use is not None and isinstance(self.value, int | float) and self.use > self.value


def limits(view: View, now: float) -> list[Limit]:
    """Workers first, then what the workflow sets or somebody has changed per agent, then all others by name."""
    tallies = view.agents
    found = {"workers": _workers(view, tallies)}
    oldest: dict[str, float] = {}
    for started in view.running.values():
        oldest[started.agent] = min(oldest.get(started.agent, now), started.at)
    for name, agent in (view.definition.agents if view.definition else {}).items():
        tally = tallies.get(name)
        for setting, value, usual in _settings(agent):
            full = f"agents.{name}.{setting}"
            value = view.limits.get(full, value)
            if full not in view.limits and (value is None or value == usual):
                continue
            use: float | None = None
            if setting == "max_parallel" and tally:
                use = tally.counts["running"]
            elif setting == "timeout":
                use = max(0.0, now - oldest[name]) if name in oldest else None
            waiting = tally.counts["ready"] if tally and setting == "max_parallel" else None
            found[full] = Limit(full, value, use, waiting)
    for name, value in sorted(view.limits.items()):
        if name not in found:
            found[name] = Limit(name, value)
    return list(found.values())


def _workers(view: View, tallies: dict[str, AgentTally]) -> Limit:
    held = [tally for tally in tallies.values() if tally.holds]
    running = sum(tally.counts["running"] for tally in held)
    return Limit("workers", view.workers, running, sum(tally.counts["ready"] for tally in held))


def _settings(agent: Agent) -> tuple[tuple[str, Data, Data], ...]:
    """Setting, value, and what it is where nobody says anything."""
    return (
        ("timeout", agent.timeout.attempt, Timeout().attempt),
        ("attempts", agent.retry.attempts, Retry().attempts),
        ("max_parallel", agent.max_parallel, None),
    )
