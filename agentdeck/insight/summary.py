"""A run in one JSON object: what `run --json`, `resume --json` and `show --json` print."""

from __future__ import annotations

from agentdeck.core.tally import AgentTally
from agentdeck.core.view import View
from agentdeck.insight.bound import earliest, lower_bound, needs_of
from agentdeck.workflow import graph
from agentdeck.workflow.model import Data, Definition


def summary(view: View, definition: Definition | None = None) -> dict[str, Data]:
    """The summary of a run as far as it has come.

    `sequential_seconds` is the time of all attempts one after another, steps that only wait for others left
    out. `lower_bound_seconds` is the larger of the critical path, by mean durations, and that work shared by
    the workers. Null is what is not known: a duration never measured, a price, the output of many tasks.
    """
    definition = definition or view.definition
    agents = view.agents
    tasks = view.tasks
    seconds = view.seconds
    work = sum(tally.busy for tally in agents.values() if tally.holds)
    path, length = _path(view, definition)
    workers = view.workers or (definition.limits.workers if definition else None)
    bound = max(length, lower_bound(0.0, work, workers) if workers else 0.0)
    one = tasks.opened == 1 and tasks.total in (None, 1)
    return {
        "run": view.run,
        "workflow": view.workflow,
        "state": view.state,
        "seconds": _round(seconds),
        "simulated": view.simulated,
        "tasks": {
            "total": tasks.total if tasks.total is not None else tasks.opened,
            "done": tasks.done,
            "failed": tasks.failed,
            "cancelled": tasks.cancelled,
        },
        "steps": view.steps(),
        "attempts": sum(tally.attempts for tally in agents.values()),
        "letters": view.letters,
        "approvals": view.approvals.summary(),
        "critical_path": path,
        "lower_bound_seconds": _round(bound),
        "sequential_seconds": _round(work),
        "speedup": _round(work / seconds) if seconds > 0 else None,
        "agents": {name: _agent(tally) for name, tally in agents.items()},
        **_money(view.usd, view.usd_all_reasoning),
        "output": view.output if one else None,
    }


def _path(view: View, definition: Definition | None) -> tuple[list[str], float]:
    """The critical path by what was measured, and the least time a task can take."""
    if definition is None:
        return [], 0.0
    mean: dict[str, float] = {}
    share: dict[str, float] = {}
    for name, tally in view.agents.items():
        each = tally.durations.mean or 0.0
        mean[name] = each
        # An agent that only some tasks reached delays the average task by that share.
        share[name] = min(each, tally.durations.total / max(1, view.tasks.opened))
    needs = needs_of(definition)
    seconds = {name: mean.get(name, 0.0) for name in needs}
    return graph.critical_path(needs, seconds)[0], earliest(definition, share)


def _agent(tally: AgentTally) -> dict[str, Data]:
    steps = tally.steps
    good = tally.durations.count + tally.reused
    tried = good + tally.failed_attempts
    return {
        "steps": sum(steps.values()),
        "done": steps["done"],
        "failed": steps["failed"],
        "attempts": tally.attempts,
        "success_rate": _round(good / tried) if tried else None,
        "p50": _round(tally.durations.quantile(0.5)),
        "p95": _round(tally.durations.quantile(0.95)),
        "input_bytes": tally.input_bytes,
        "waiting": {reason: _round(seconds) for reason, seconds in sorted(tally.waiting.items())},
        "tokens_in": tally.tokens_in,
        "tokens_out": tally.tokens_out,
        "cached_in": tally.cached_in,
        "eased": dict(sorted(tally.eased.items())),
        "estimated": tally.estimated,
        **_money(tally.cost, tally.cost_all_reasoning),
    }


def _money(usd: float | None, all_reasoning: float | None) -> dict[str, Data]:
    """As it was, as it would have been on the reasoning tier, and what lies between."""
    saved = None if usd is None or all_reasoning is None else all_reasoning - usd
    return {"usd": usd, "usd_all_reasoning": all_reasoning, "saved": _round(saved)}


def _round(value: float | None) -> float | None:
    """Microseconds: finer is noise of the floats."""
    return None if value is None else round(value, 6)
