"""Graphs to draw, and runs of them."""

from __future__ import annotations

from agentdeck.agents.simulate import Simulate
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Definition, OnError

Needs = dict[str, list[str]]

ORDER: Needs = {
    "extract": [],
    "payment": ["extract"],
    "inventory": ["extract"],
    "shipping": ["extract"],
    "confirm": ["payment", "inventory", "shipping"],
}


def fan(width: int) -> Needs:
    middle = {f"m{i}": ["first"] for i in range(width)}
    return {"first": [], **middle, "last": list(middle)}


def layered(depth: int, width: int) -> Needs:
    return {
        f"l{row}_{i}": [f"l{row - 1}_{(i + k) % width}" for k in range(3)] if row else []
        for row in range(depth)
        for i in range(width)
    }


def definition(needs: Needs, takes: dict[str, float] | None = None) -> Definition:
    seconds = takes or {}
    return Definition(
        "w",
        {
            name: Agent(name, Simulate(seconds.get(name, 1.0)), needs=tuple(above))
            for name, above in needs.items()
        },
    )


def with_spare() -> Definition:
    return Definition(
        "w",
        {
            "style": Agent("style", Simulate(), on_error=OnError("fail", "linter")),
            "linter": Agent("linter", Simulate(), spare=True),
            "end": Agent("end", Simulate(), needs=("style",)),
        },
    )


class Story:
    """A view, and what happens in it."""

    def __init__(self, of: Definition, tasks: int = 1) -> None:
        self.view = RunView(of)
        self.seq = 0
        self.tell(ev.RunStarted(0.0, "r", of.name, "", {}, {}))
        for task in range(1, tasks + 1):
            self.tell(ev.TaskOpened(0.0, str(task), {}))
        self.tell(ev.TasksExhausted(0.0, tasks))

    def tell(self, event: ev.Event) -> None:
        self.seq += 1
        self.view.apply(self.seq, event)

    def start(self, agent: str, at: float, task: str = "1") -> None:
        self.tell(ev.StepStarted(at, task, agent, agent, 1, at))

    def end(self, agent: str, at: float, task: str = "1") -> None:
        self.tell(ev.StepSucceeded(at, task, agent, 1, {}))
