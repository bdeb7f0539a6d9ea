"""Every limit of a run and of its providers: its value, what is in use, and how many steps wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.insight.closed_places import out_of_reach
from agentdeck.insight.resources import resources
from agentdeck.limits.provider_limits import NAMES
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.model import Agent, Budget, Data, Prompt, Retry
from agentdeck.workflow.place_types import slots_name
from agentdeck.workflow.units import rate, whole_where_exact

#: Limits of a provider that are an amount per time.
RATES = NAMES[:-1]
#: The value that adaptive concurrency has found is recorded under the name of the limit and this suffix.
FOUND = ".now"
BUDGETS = ("usd", "tokens", "task.usd", "task.tokens")


class Limit(NamedTuple):
    """One limit. `name` is that of `LimitChanged` (`workers`, a shared resource such as `gpu`,
    `agents.extract.timeout`, `openai.requests`, `budget.usd`). `use` and `waiting` count steps; for a timeout
    `use` is the age of the oldest attempt, for a rate the use of its last window, for a budget what is spent.
    They are None where they mean nothing or are not known. `most` is the value as a number, where it is one.
    `note` says that the place of these slots is out of reach."""

    name: str
    value: Data
    use: float | None = None
    waiting: int | None = None
    most: float | None = None
    note: str = ""

    @property
    def setting(self) -> str:
        return self.name.rsplit(".", 1)[-1]

    @property
    def over(self) -> bool:
        """Whether it was lowered below what is in use: running steps go on, none starts."""
        counted = self.setting not in ("timeout", "usd") and not self.name.startswith("budget.")
        return counted and self.use is not None and self.most is not None and self.use > self.most


def limits(
    view: RunView,
    now: float,
    calls: Mapping[str, float] | None = None,
    waits: Mapping[str, Mapping[str, int]] | None = None,
) -> list[Limit]:
    """All limits: workers first, then shared resources, the budget and the providers, then those of agents that
    the workflow sets or an operator has changed. `calls` is what is in use of providers' limits, by name, and
    `waits` the steps that wait for resources (`why.resource_waits`)."""
    by_agent = view.agents
    held = _held(view)
    shared = _resources(view, now, waits)
    elsewhere = sum(held.values()) + max((limit.waiting or 0 for limit in shared), default=0)
    found = {"workers": _workers(view, by_agent, elsewhere)}
    found |= {limit.name: limit for limit in shared}
    found |= {limit.name: limit for limit in _budget(view, held)}
    found |= {limit.name: limit for limit in _providers(view, calls or {}, held)}
    oldest: dict[str, float] = {}
    for started in view.running.values():
        oldest[started.agent] = min(oldest.get(started.agent, now), started.at)
    for name, agent in (view.definition.agents if view.definition else {}).items():
        totals = by_agent.get(name)
        for setting, value, usual in _settings(agent):
            full = f"agents.{name}.{setting}"
            value = view.limits.get(full, value)
            if full not in view.limits and (value is None or value == usual):
                continue
            use: float | None = None
            if setting == "max_parallel" and totals:
                use = totals.counts["running"] - totals.questions
            elif setting == "timeout":
                use = max(0.0, now - oldest[name]) if name in oldest else None
            waiting = totals.counts["ready"] if totals and setting == "max_parallel" else None
            found[full] = Limit(full, value, use, waiting, number(value))
    for name, value in sorted(view.limits.items()):
        if name not in found and not name.endswith(FOUND):
            found[name] = Limit(name, value, None, None, number(value))
    return list(found.values())


def windows(view: RunView) -> dict[str, float]:
    """The providers' limits by name, each with the length of its window in seconds; 0 for calls at once."""
    found: dict[str, float] = {}
    for name, value in view.limits.items():
        provider, _, limit = name.partition(".")
        if provider not in ("agents", "budget", "workers") and value is not None:
            if limit == "concurrent":
                found[name] = 0.0
            elif limit in RATES and isinstance(value, str):
                found[name] = rate(value).seconds
    return found


def number(value: Data) -> float | None:
    """The value as a number; None where it is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _held(view: RunView) -> dict[str, int]:
    """The number of steps that wait for each limit of a provider, or for the budget."""
    held: dict[str, int] = {}
    if view.definition is None or any(isinstance(a.does, Prompt) for a in view.definition.agents.values()):
        for task in view.open.values():
            for step in task.steps.values():
                if step.reason and step.state == "ready" and step.until is None:
                    name = held_by(step.reason, step.why)
                    held[name] = held.get(name, 0) + 1
    return held


def held_by(reason: str, why: str) -> str:
    """The name of the limit, or `budget`, for which a step waits, from the reason and the text that are
    recorded. For `pace` the text names the rate: `openai: requests 50/min burst 5`."""
    if reason == "budget":
        return reason
    provider, _, rest = why.partition(": ")
    return f"{provider}.{rest.partition(' ')[0] if reason == 'pace' else reason}"


def _workers(view: RunView, by_agent: Mapping[str, AgentTotals], elsewhere: int) -> Limit:
    held = [totals for totals in by_agent.values() if totals.uses_worker]
    running = sum(totals.busy_workers for totals in held) + len(view.held_workers)
    waiting = sum(totals.counts["ready"] for totals in held)
    return Limit("workers", view.workers, running, max(0, waiting - elsewhere), number(view.workers))


def _resources(view: RunView, now: float, waits: Mapping[str, Mapping[str, int]] | None) -> list[Limit]:
    """The shared resources, and the places that are out of reach, also those without slots."""
    closed = {slots_name(name): out_of_reach(view, name, now) for name in view.closed_places}

    def waiting(name: str) -> int | None:
        return None if waits is None else sum(waits.get(name, {}).values())

    found = [
        Limit(
            name,
            view.limits.get(name, whole_where_exact(use.limit / 1000)),
            use.used / 1000,
            waiting(name),
            use.limit / 1000,
            closed.pop(name, ""),
        )
        for name, use in resources(view).items()
    ]
    return found + [Limit(name, None, None, waiting(name), None, note) for name, note in closed.items()]


def _budget(view: RunView, held: Mapping[str, int]) -> list[Limit]:
    """The budget of the run, with what is spent of it, and that of each task, whose use differs by task."""
    own = (view.definition.budget if view.definition else None) or Budget()
    each = own.task or Budget()
    given = {"usd": own.usd, "tokens": own.tokens, "task.usd": each.usd, "task.tokens": each.tokens}
    found = []
    for measure, declared in given.items():
        value = view.limits.get(f"budget.{measure}", declared)
        if value is not None:
            use = {"usd": view.usd or 0.0, "tokens": _tokens(view)}.get(measure)
            blocked = held.get("budget", 0) if measure in ("usd", "tokens") else None
            found.append(Limit(f"budget.{measure}", value, use, blocked, number(value)))
    return found


def _tokens(view: RunView) -> float:
    return sum((totals.tokens_in or 0) + (totals.tokens_out or 0) for totals in view.agents.values())


def _providers(view: RunView, calls: Mapping[str, float], held: Mapping[str, int]) -> list[Limit]:
    found = []
    for name in windows(view):
        value = view.limits[name]
        most = number(view.limits.get(name + FOUND)) if value == "auto" else number(value)
        if isinstance(value, str) and value != "auto":
            most = rate(value).count
        found.append(Limit(name, value, calls.get(name), held.get(name, 0), most))
    return found


def _settings(agent: Agent) -> tuple[tuple[str, Data, Data], ...]:
    """Each setting with its value, and its default."""
    return (
        ("timeout", agent.timeout.attempt, kind_of(agent).timeout.attempt),
        ("attempts", agent.retry.attempts, Retry().attempts),
        ("max_parallel", agent.max_parallel, None),
    )
