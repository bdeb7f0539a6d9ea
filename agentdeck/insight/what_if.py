"""The effect of changing a limit on a run: when it would end, what it would cost, and what would bind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agentdeck.insight.forecast import forecast, further_task, without_items
from agentdeck.insight.formatting import dollars, percent, plural, seconds
from agentdeck.insight.limits import RATES, number
from agentdeck.insight.lower_bound import resource_seconds
from agentdeck.limits.provider_limits import is_resource
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data, Definition, Prompt
from agentdeck.workflow.units import rate

#: A forecast simulates so many steps at most; further tasks take as long as the second half of these on average.
STEPS = 3000
#: So many attempts of an agent are enough to forecast further ones.
ENOUGH = 5


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """The values of a run that a forecast starts from. `left` is the number of tasks not ended. By agent,
    `known` is the mean duration of attempts, `last` the newest durations, `failing` the share of attempts
    that fail, `items` the number of items per task with `each`. `calls` and `tokens` are those of prompts per
    task, `shares` the part of them that counts for each provider's limit; `usd` is per task, None where not
    known. `order` is that of the agents, where one was searched. `closed` is a place that is out of reach."""

    definition: Definition
    limits: Mapping[str, Data]
    left: int
    known: Mapping[str, float]
    last: Mapping[str, tuple[float, ...]]
    failing: Mapping[str, float]
    calls: float
    tokens: float
    shares: Mapping[str, float]
    usd: float | None
    spent: float
    items: Mapping[str, float] = field(default_factory=dict)
    order: Sequence[str] = ()
    closed: str = ""

    @property
    def workers(self) -> int:
        value = self.limits.get("workers")
        return value if isinstance(value, int) else 1


def snapshot_run(
    view: RunView, definition: Definition, total: int | None = None, calls: Mapping[str, float] | None = None
) -> RunSnapshot:
    """The values that a forecast needs, taken from a view at once, so that it can be made in another thread.
    `calls` is what is in use of the limits of providers, by name."""
    by_agent, ended = view.agents, max(1, view.tasks.ended)
    known = {name: t.durations.mean for name, t in by_agent.items() if t.durations.mean is not None}
    prompts = [
        t for name, t in by_agent.items() if (a := definition.agents.get(name)) and isinstance(a.does, Prompt)
    ]
    tried = {name: t.durations.count + t.failed_attempts for name, t in by_agent.items()}
    whole = max(view.tasks.total or total or 0, view.tasks.opened)
    usd = view.usd
    return RunSnapshot(
        definition,
        dict(view.limits),
        max(0, whole - view.tasks.ended),
        {name: mean for name, mean in known.items() if name in definition.agents},
        {name: tuple(t.durations.last) for name, t in by_agent.items()},
        {name: t.failed_attempts / tried[name] for name, t in by_agent.items() if tried[name] >= ENOUGH},
        sum(t.attempts for t in prompts) / ended,
        sum((t.tokens_in or 0) + (t.tokens_out or 0) for t in prompts) / ended,
        _shares(calls or {}),
        None if usd is None or not view.tasks.ended else usd / view.tasks.ended,
        usd or 0.0,
        {name: _items(by_agent[name]) for name, a in definition.agents.items() if a.each and name in by_agent},
        tuple(view.order),
        _closed(view, definition),
    )


def _closed(view: RunView, definition: Definition) -> str:
    """A place that is out of reach and that an agent of the workflow needs; empty where there is none."""
    return next((one.place for one in definition.agents.values() if one.place in view.closed_places), "")


def _items(totals: AgentTotals) -> float:
    """The mean number of items of a task. A task in which they are not known yet has one waiting step."""
    steps = totals.steps
    counted = totals.graph.opened - steps["waiting"]
    return max(1.0, (sum(steps.values()) - steps["waiting"]) / counted) if counted > 0 else 1.0


def predict_change(run: RunSnapshot, name: str, value: Data) -> str:
    """One line on the effect of this value of the limit."""
    setting, parts = name.rsplit(".", 1)[-1], name.split(".")
    agent = ".".join(parts[1:-1]) if parts[0] == "agents" else ""
    wanted = number(value)
    if setting == "timeout" and wanted is not None:
        return _timeout(run, agent, wanted)
    if setting == "attempts" and wanted is not None:
        return _attempts(run, agent, int(wanted))
    if parts[0] == "budget" and wanted is not None:
        return _budget(run, setting, wanted, per_task="task" in parts)
    if not run.left:
        return "no work is left"
    if name == "workers" and wanted == 0:
        return "no new steps start until it is raised; running steps finish"
    if setting == "max_parallel" and wanted == 0:
        return f"{agent} starts no more steps until it is raised; running steps finish"
    if is_resource(name) and wanted is not None and (held := _held_by(run.definition, name, wanted)):
        return f"{held}; running steps finish"
    if run.closed:
        return f"no forecast while the place {run.closed} is out of reach"
    before, _ = predict_rest(run)
    order = () if name == "workers" else run.order  # which is for the workers that there are
    after, binds = predict_rest(replace(run, limits={**run.limits, name: value}, order=order))
    text = f"ETA {seconds(before)} → {seconds(after)}"
    if abs(after - before) < 0.02 * before:
        text = f"ETA {seconds(after)} as now"
    cost = f" · {dollars(run.usd * run.left)} to come" if run.usd else ""
    return f"{text} · {binds}{cost}"


def predict_rest(run: RunSnapshot) -> tuple[float, str]:
    """Seconds until the remaining tasks are done, and what limits the speed."""
    definition, workers = _at(run.definition, run.limits), max(1, run.workers)
    plays = max(1, min(run.left, STEPS // max(1, len(definition.agents))))
    played, known = without_items(definition, run.known, run.items, workers)
    length = forecast(played, workers, plays, known, run.order).seconds
    if plays < run.left:
        length += (run.left - plays) * further_task(played, workers, plays, length, known)
    work = {
        name: run.known.get(name, 0.0) * run.items.get(name, 1.0) * run.left
        for name, one in definition.agents.items()
        if not one.spare and one.does.holds_worker
    }
    bounds = {f"limited by {workers} workers": sum(work.values()) / workers}
    for name, spent in work.items():
        if most := definition.agents[name].max_parallel:
            bounds[f"limited by {name}, {most} at once"] = spent / most
    for name, spent in resource_seconds(definition, work).items():
        bounds[f"limited by {definition.limits.resources[name]} of {name}"] = spent
    for name, value in run.limits.items():
        if isinstance(value, str) and name.rsplit(".", 1)[-1] in RATES and name.count(".") == 1:
            each = (run.calls if name.endswith(".requests") else run.tokens) * run.shares.get(name, 1.0)
            one = rate(value)
            bounds[f"limited by {name}"] = each * run.left * one.seconds / one.count
    most_, what = max((spent, what) for what, spent in bounds.items())
    if most_ >= 0.85 * length:
        return max(length, most_), what
    return length, "limited by the critical path"


def _shares(calls: Mapping[str, float]) -> dict[str, float]:
    """The part of each limit in what is in use of that kind of limit at all providers."""
    whole: dict[str, float] = {}
    for name, used in calls.items():
        setting = name.rpartition(".")[2]
        whole[setting] = whole.get(setting, 0.0) + used
    return {name: used / total for name, used in calls.items() if (total := whole[name.rpartition(".")[2]])}


def _at(definition: Definition, limits: Mapping[str, Data]) -> Definition:
    """The workflow with the limits that operators have changed. An agent that uses more of a resource than there
    is now starts no step: it is left with what there is, so that the rest can be forecast."""
    agents = dict(definition.agents)
    resources = {**definition.limits.resources}
    resources |= {name: value for name, value in limits.items() if name in resources}
    for name, value in limits.items():
        parts = name.split(".")
        if parts[0] == "agents" and parts[-1] == "max_parallel" and parts[1] in agents:
            agents[parts[1]] = replace(agents[parts[1]], max_parallel=value or None)
    for name, agent in agents.items():
        if any(amount > resources[one] for one, amount in agent.uses.items() if one in resources):
            least = {one: min(amount, resources.get(one, amount)) for one, amount in agent.uses.items()}
            agents[name] = replace(agent, uses=least)
    return replace(definition, agents=agents, limits=replace(definition.limits, resources=resources))


def _held_by(definition: Definition, name: str, wanted: float) -> str:
    """Which agents could not start with so much of a resource, empty where all can."""
    held = [agent.name for agent in definition.agents.values() if agent.uses.get(name, 0.0) > wanted]
    if not held:
        return ""
    most = max(definition.agents[agent].uses[name] for agent in held)
    return f"{', '.join(held)} would start no more steps: {most} of {name} is used"


def _timeout(run: RunSnapshot, agent: str, wanted: float) -> str:
    last = run.last.get(agent, ())
    if len(last) < ENOUGH:
        return "also applies to running attempts"
    longer = sum(one > wanted for one in last)
    if not longer:
        return f"the longest of the last {len(last)} took {seconds(max(last))}: none would be cut"
    return f"{percent(longer / len(last))} of the last {len(last)} took longer and would be cut"


def _attempts(run: RunSnapshot, agent: str, wanted: int) -> str:
    share = run.failing.get(agent)
    if share is None:
        return f"a step fails for good after {plural(wanted, 'attempt')}"
    if not share:
        return f"no attempt of {agent} has failed yet"
    return f"{percent(share)} of attempts fail: about {percent(share**wanted)} of steps fail for good"


def _budget(run: RunSnapshot, measure: str, wanted: float, *, per_task: bool) -> str:
    each = run.usd if measure == "usd" else run.tokens
    if per_task or not each:
        return "what was spent already counts"
    spent = run.spent if measure == "usd" else 0.0
    enough = max(0, int((wanted - spent) / each)) if measure == "usd" else int(wanted / each)
    if measure == "usd" and enough >= run.left:
        return f"enough for all {run.left:,} tasks that are left"
    of = f" of the {run.left:,} that are left" if measure == "usd" else " in all"
    return f"enough for about {plural(enough, 'task')}{of}"
