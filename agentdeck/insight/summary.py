"""A run in one document: what `run --json`, `resume --json` and `show --json` print."""

from __future__ import annotations

from agentdeck.documents.run import (
    AgentSummary,
    Approvals,
    ClosedPlace,
    InnerSummary,
    PlaceWorker,
    Summary,
    SummaryTaskCounts,
)
from agentdeck.documents.step import Decision
from agentdeck.insight.formatting import plural
from agentdeck.insight.lower_bound import lower_bound, resource_seconds, schedule
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView
from agentdeck.views.task_view import TaskCounts
from agentdeck.workflow.model import Data, Definition


def summary(view: RunView, definition: Definition | None = None) -> Summary:
    """The summary of a run as far as it has come.

    `sequential_seconds` is the time of all attempts one after another, steps that only wait for others left out.
    `lower_bound_seconds` is the larger of the critical path, by mean durations, and that work shared by the
    workers or by a resource. Null is what is not known: a duration never measured, a price, the output of many
    tasks.
    """
    definition = definition or view.definition
    agents = view.agents
    tasks = view.tasks
    seconds = view.seconds
    work = sum(totals.busy for totals in agents.values() if totals.uses_worker)
    path, length = _path(view, definition)
    workers = view.workers or (definition.limits.workers if definition else None)
    busy = {name: totals.busy for name, totals in agents.items()}
    shared = resource_seconds(definition, busy) if definition is not None else {}
    one = tasks.opened == 1 and tasks.total in (None, 1)
    approvals = view.approvals.summary()
    latest = [Decision.model_construct(**decision) for decision in approvals.pop("latest")]
    return Summary.model_construct(
        run=view.run,
        workflow=view.workflow,
        state=view.state,
        seconds=_round(seconds),
        simulated=view.simulated,
        simulated_agents=view.simulated_agents,
        tasks=SummaryTaskCounts.of(tasks, total=_total(tasks)),
        steps=view.steps(),
        attempts=sum(totals.attempts for totals in agents.values()),
        letters=view.letters,
        approvals=Approvals.model_construct(**approvals, latest=latest),
        critical_path=path,
        lower_bound_seconds=_round(max([lower_bound(length, work, workers), *shared.values()])),
        sequential_seconds=_round(work),
        speedup=_round(work / seconds) if seconds > 0 else None,
        agents={name: _agent(totals) for name, totals in agents.items()},
        inner={inner.name: _inner(inner) for name in agents for _, inner in view.totals.inner_tree(name)},
        place_workers={name: PlaceWorker.of(one) for name, one in view.place_workers.totals.items()},
        closed_places={name: ClosedPlace.of(one) for name, one in view.closed_places.items()},
        **_money(view.usd, view.usd_all_reasoning),
        output=view.output if one else None,
    )


def _total(tasks: TaskCounts) -> int:
    """How many tasks the run has, as far as it is known."""
    if tasks.total is not None:
        return tasks.total
    return max(tasks.opened, tasks.given or 0)


def task_counts(tasks: TaskCounts) -> str:
    """`150 tasks done, 3 failed`; where some were never started, `1,000 tasks: 150 done, 850 never started`."""
    unopened = tasks.never_started or 0
    ended = f"{tasks.done:,} done" if unopened or tasks.at_least else f"{plural(tasks.done, 'task')} done"
    others = (
        (tasks.failed, "failed"),
        (tasks.cancelled, "cancelled"),
        (tasks.opened - tasks.ended, "open"),
        (unopened, "not started" if tasks.total is None else "never started"),
    )
    counts = ", ".join([ended, *(f"{number:,} {word}" for number, word in others if number > 0)])
    if not unopened and not tasks.at_least:
        return counts
    return f"{'at least ' if tasks.at_least else ''}{plural(_total(tasks), 'task')}: {counts}"


def simulation(view: RunView) -> str:
    """What of the run is made up: `simulated` where answers of models are or every agent that works is, else how
    many agents are; empty where none is."""
    if view.simulated:
        return "simulated"
    return f"{plural(view.simulated_agents, 'agent')} simulated" if view.simulated_agents else ""


def unknown_cost(view: RunView) -> str:
    """Why the cost of a run is not known; empty where it is, or where no model was asked."""
    agents = list(view.agents.values())
    missing = sum(totals.unreported for totals in agents)
    reasons = ["not every model has a price"] if any(totals.unpriced for totals in agents) else []
    reasons += [f"usage missing for {plural(missing, 'call')}"] if missing else []
    return ", ".join(reasons)


def _path(view: RunView, definition: Definition | None) -> tuple[list[str], float]:
    """The critical path by what was measured, and the least time a task can take."""
    if definition is None:
        return [], 0.0
    mean: dict[str, float] = {}
    share: dict[str, float] = {}
    for name, totals in view.agents.items():
        each = totals.durations.mean or 0.0
        mean[name] = totals.typical or 0.0
        # An agent that only some tasks reached delays the average task by that share.
        share[name] = min(each, totals.durations.total / max(1, view.tasks.opened))
    return list(schedule(definition, mean).path), schedule(definition, share).seconds


def _agent(totals: AgentTotals) -> AgentSummary:
    steps = totals.steps
    good = totals.durations.count + totals.reused
    tried = good + totals.failed_attempts
    return AgentSummary.of(
        totals,
        steps=sum(steps.values()),
        done=steps["done"],
        failed=steps["failed"],
        success_rate=_round(good / tried) if tried else None,
        p50=_round(totals.durations.quantile(0.5)),
        p95=_round(totals.durations.quantile(0.95)),
        waiting={reason: _round(seconds) for reason, seconds in sorted(totals.waiting.items())},
        usage_missing=totals.unreported,
        eased=dict(sorted(totals.eased.items())),
        **_money(totals.cost, totals.cost_all_reasoning),
    )


def _inner(totals: AgentTotals) -> InnerSummary:
    return InnerSummary.of(
        totals,
        started=totals.attempts,
        **{state: totals.counts[state] for state in ("running", "done", "failed", "cancelled")},
        p50=_round(totals.durations.quantile(0.5)),
        p95=_round(totals.durations.quantile(0.95)),
        usd=totals.cost,
    )


def _money(usd: float | None, all_reasoning: float | None) -> dict[str, Data]:
    """As it was, as it would have been on the reasoning tier, and what lies between."""
    saved = None if usd is None or all_reasoning is None else all_reasoning - usd
    return {"usd": usd, "usd_all_reasoning": all_reasoning, "saved": _round(saved)}


def _round(value: float | None) -> float | None:
    """Microseconds: finer is noise of the floats."""
    return None if value is None else round(value, 6)
