"""The run view as plain data, and back: the restored view goes on as one that has applied all events itself.

Folding the log of 100,000 tasks takes seconds; with a snapshot only the events after it are folded. The log stays
the truth. A snapshot of another VERSION is ignored, so change FORMAT when the fold of any event changes.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from zlib import crc32

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.run_state import ClosedPlace
from agentdeck.views.agent_totals import AgentTotals, Durations, GraphTotals
from agentdeck.views.inner_place import InnerPlace, Running
from agentdeck.views.inner_steps import InnerStep
from agentdeck.views.place_workers import WorkerTotals
from agentdeck.views.run_timeline import TimelineEntry
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import STEP_FIELDS, StepView
from agentdeck.views.task_view import TaskCounts, TaskRow, TaskView
from agentdeck.workflow.model import Data, Definition

FORMAT = 4

# The fields that are plain data. The others are written out below.
_VIEW = (
    "seq", "run", "workflow", "identity", "inputs", "state", "started", "ended", "now", "idle", "limits",
    "order", "output", "held_workers",
)  # fmt: skip
_COUNTS = tuple(field.name for field in fields(TaskCounts))
_AGENT = tuple(f.name for f in fields(AgentTotals) if f.name not in ("name", "graph", "durations"))
_WORKER = tuple(field.name for field in fields(WorkerTotals))
_DURATIONS = ("count", "total", "low", "high", "last")
_TASK = ("opened", "state", "ended", "partial")
_STEP = tuple(
    name for name in STEP_FIELDS if name not in ("key", "agent", "attempt", "other", "fault", "held", "nested")
)
_HELD = (
    _VIEW, _COUNTS, _AGENT, _WORKER, _DURATIONS, _TASK, STEP_FIELDS, Fault._fields, TaskRow._fields,
    TimelineEntry._fields, ev.StepStarted._fields, ev.StepAnswered._fields, ev.Author._fields,
)  # fmt: skip
#: Changes with FORMAT and with the fields of everything that a snapshot holds.
VERSION = f"{FORMAT}-{crc32(repr(_HELD).encode()):08x}"


def snapshot_of(view: RunView) -> dict[str, Data]:
    """The view as data that JSON can hold, without its definition. Later events do not change it."""
    return {
        "view": _values(view, _VIEW),
        "tasks": _values(view.tasks, _COUNTS),
        "timeline": [list(entry) for entry in view.timeline],
        "graphs": [_graph(graph) for graph in view.totals.graphs.values()],
        "inside": [_graph(graph) for graph in view.totals.inside.values()],
        "open": [_task(view, task) for task in view.open.values()],
        "failed": [_task(view, task) for task in view.failed.values()],
        "recent": [list(row) for row in view.recent],
        "running": [list(started) for started in view.running.values()],
        "inner": [
            [*key, [[number, one.totals.name, one.started, one.depth] for number, one in live.items()]]
            for key, live in view.inner_steps.live.items()
        ],
        "places": [_place(key, place) for key, place in view.inner_steps.places.items()],
        "workers": [[name, _values(one, _WORKER)] for name, one in view.place_workers.totals.items()],
        "placed": [[*key, worker] for key, worker in view.place_workers.live.items()],
        "closed_places": {name: list(place) for name, place in view.closed_places.items()},
        "letters": view.letters,
        "simulated": view.answers_simulated,
        "approvals": {
            "approved": view.approvals.approved,
            "ways": dict(view.approvals.ways),
            "latest": [list(event) for event in view.approvals.latest],
        },
    }


def restored_view(definition: Definition, data: dict[str, Any]) -> RunView:
    """The view of which this is the snapshot. Raises KeyError, TypeError or ValueError for any other data."""
    view = RunView(definition)
    _set(view, _VIEW, data["view"])
    _set(view.tasks, _COUNTS, data["tasks"])
    view.timeline.extend(TimelineEntry(*entry) for entry in data["timeline"])
    for graph in data["graphs"]:
        _restore_graph(view, view.totals.graph(graph["prefix"]), graph)
    for graph in data["inside"]:
        _restore_graph(view, view.totals.inner_graph(graph["prefix"][:-1]), graph)
    for held, tasks in ((view.open, data["open"]), (view.failed, data["failed"])):
        for task in tasks:
            restored = _restored_task(view, task)
            held[restored.id] = restored
    for task in (*data["open"], *data["failed"]):
        _link_nested(view, task)
    view.recent.extend(TaskRow(*row) for row in data["recent"])
    for started in data["running"]:
        event = ev.StepStarted(*started)
        view.running[event.task, event.step] = event
    by_name = view.inner
    for task_id, key, live in data["inner"]:
        inner = {number: InnerStep(by_name[name], at, depth) for number, name, at, depth in live}
        view.inner_steps.live[task_id, key] = inner
    for task_id, key, running, failed, idle in data["places"]:
        place = view.inner_steps.places[task_id, key] = InnerPlace()
        place.running = {number: Running(name, since) for number, name, since in running}
        place.failed, place.idle = [(name, message) for name, message in failed], idle
    view.place_workers.restore(
        {name: WorkerTotals(*counts) for name, counts in data["workers"]},
        {(task_id, key): worker for task_id, key, worker in data["placed"]},
    )
    view.closed_places = {name: ClosedPlace(*place) for name, place in data["closed_places"].items()}
    view.restore_counts(letters=data["letters"], answers_simulated=data["simulated"])
    approvals = data["approvals"]
    view.approvals.approved, view.approvals.ways = approvals["approved"], approvals["ways"]
    view.approvals.latest.extend(_restored_answer(event) for event in approvals["latest"])
    return view


# Parts ----------------------------------------------------------------------------------------------------------


def _values(holder: object, names: tuple[str, ...]) -> list[Data]:
    return [_copy(getattr(holder, name)) for name in names]


def _copy(value: Data) -> Data:
    """Containers of counters change with the next event. What the log gave, such as an output, never does."""
    if type(value) is dict:
        return dict(value)
    return list(value) if type(value) is list else value


def _set(holder: object, names: tuple[str, ...], values: list[Data]) -> None:
    for name, value in zip(names, values, strict=True):
        setattr(holder, name, value)


def _graph(graph: GraphTotals) -> dict[str, Data]:
    agents: list[Data] = [
        [
            name,
            _values(totals, _AGENT),
            _values(totals.durations, _DURATIONS),
            list(totals.durations.buckets.items()),
        ]
        for name, totals in graph.agents.items()
    ]
    return {"prefix": graph.prefix, "opened": graph.opened, "agents": agents}


def _place(key: tuple[str, str], place: InnerPlace) -> list[Data]:
    running: list[Data] = [[number, *one] for number, one in place.running.items()]
    return [*key, running, [list(one) for one in place.failed], place.idle]


def _restore_graph(view: RunView, graph: GraphTotals, data: dict[str, Any]) -> None:
    graph.opened = data["opened"]
    for name, values, seconds, buckets in data["agents"]:
        totals = view.totals.agent(graph, name)
        _set(totals, _AGENT, values)
        totals.durations = Durations()
        _set(totals.durations, _DURATIONS, seconds)
        totals.durations.buckets = dict(buckets)


def _task(view: RunView, task: TaskView) -> dict[str, Data]:
    return {
        "id": task.id,
        "graph": task.graph.prefix,
        "parent": None if task.parent is None else list(task.parent),
        "fault": None if task.fault is None else list(task.fault),
        "values": _values(task, _TASK),
        "steps": [_step(view, task, step) for step in task.steps.values()],
    }


def _step(view: RunView, task: TaskView, step: StepView) -> dict[str, Data]:
    data: dict[str, Data] = {"key": step.key, "values": _values(step, _STEP)}
    for name in ("attempt", "other", "fault", "held"):
        if (value := getattr(step, name)) is not None:
            data[name] = list(value)
    below = f"{task.id}/{step.key}"
    if step.nested is not None and step.nested in (view.open.get(below), view.failed.get(below)):
        data["nested"] = below
    return data


def _restored_task(view: RunView, data: dict[str, Any]) -> TaskView:
    parent, fault = data["parent"], data["fault"]
    task = TaskView(data["id"], 0.0, view.totals.graphs[data["graph"]], None if parent is None else tuple(parent))
    _set(task, _TASK, data["values"])
    task.fault = None if fault is None else Fault(*fault)
    task.steps = {one["key"]: _restored_step(task, one) for one in data["steps"]}
    return task


def _restored_step(task: TaskView, data: dict[str, Any]) -> StepView:
    key = data["key"]
    step = StepView(key, task.graph.agents[key.partition("[")[0]], "", 0.0)
    _set(step, _STEP, data["values"])
    if "attempt" in data:
        step.attempt = ev.StepStarted(*data["attempt"])
    if "other" in data:
        step.other = ev.StepStarted(*data["other"])
    if "fault" in data:
        step.fault = Fault(*data["fault"])
    if "held" in data:
        step.held = tuple(data["held"])
    return step


def _link_nested(view: RunView, data: dict[str, Any]) -> None:
    """Let the steps of a task refer to the tasks nested in them, once all are restored."""
    task = view.open.get(data["id"]) or view.failed[data["id"]]
    for one in data["steps"]:
        if "nested" in one:
            task.steps[one["key"]].nested = view.open.get(one["nested"]) or view.failed[one["nested"]]


def _restored_answer(data: list[Any]) -> ev.StepAnswered:
    event = ev.StepAnswered(*data)
    author = None if event.author is None else ev.Author(*event.author)
    return event._replace(author=author, defaults=tuple(event.defaults))
