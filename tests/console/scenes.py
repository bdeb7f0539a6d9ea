"""Small screens to try a pane on, and views made of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from textual.app import App, ComposeResult
from textual.message import Message
from textual.widget import Widget

from agentdeck.agents.python import Python
from agentdeck.console.line_widget import LineWidget
from agentdeck.console.pane import SelectionChanged
from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Definition, Retry, Timeout

ORDER = Definition(
    "order",
    {
        "extract": Agent("extract", Python("shop:extract")),
        "payment": Agent("payment", Python("shop:pay"), needs=("extract",), max_parallel=12),
        "shipping": Agent("shipping", Python("shop:ship"), needs=("extract",), timeout=Timeout(attempt=10.0)),
        "confirm": Agent("confirm", Python("shop:confirm"), needs=("payment", "shipping"), retry=Retry(5)),
    },
)


class Stage(App[None]):
    """One widget, and what it told."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget
        self.told: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_mount(self) -> None:
        self.widget.focus()

    def on_selection_changed(self, message: SelectionChanged) -> None:
        self.told.append(message)


def page(widget: LineWidget) -> list[str]:
    """What can be read on the widget, line by line."""
    return [
        "".join(segment.text for segment in widget.render_line(y)).rstrip() for y in range(widget.size.height)
    ]


def view_of(events: Iterable[ev.Event], definition: Definition = ORDER) -> RunView:
    view = RunView(definition)
    for seq, event in enumerate(events, 1):
        view.apply(seq, event)
    return view


def failed(message: str) -> Fault:
    return Fault(kind="error", message=message)


def order(workers: int = 16) -> list[ev.Event]:
    """Two orders: `A` has run into a failure and is tried again, `B` has only begun."""
    return [
        ev.RunStarted(100.0, "r1", "order", "", {}, {"workers": workers}),
        ev.TaskOpened(100.0, "A", {}),
        ev.StepStarted(100.0, "A", "extract", "extract", 1, 100.0),
        ev.TaskOpened(100.0, "B", {}),
        ev.StepStarted(101.0, "B", "extract", "extract", 1, 100.0),
        ev.StepSucceeded(102.0, "A", "extract", 1),
        ev.StepStarted(104.0, "A", "payment", "payment", 1, 102.0),
        ev.StepStarted(104.0, "A", "shipping", "shipping", 1, 102.0, {"requests": 1.5}),
        ev.AttemptFailed(105.0, "A", "payment", 1, failed("card refused")),
        ev.StepRetrying(105.0, "A", "payment", 107.0),
        ev.StepStarted(107.5, "A", "payment", "payment", 2, 102.0),
    ]


#: The same workflow, with two agents at a place.
ELSEWHERE = replace(
    ORDER,
    agents={
        name: replace(agent, place="big") if name in ("payment", "shipping") else agent
        for name, agent in ORDER.agents.items()
    },
)


def placed() -> list[ev.Event]:
    """Two orders, whose attempts at a place have begun on its workers."""
    before = order()
    return [
        *before[:8],
        ev.AttemptPlaced(104.0, "A", "payment", 1, "w1"),
        ev.AttemptPlaced(104.0, "A", "shipping", 1, "w2"),
        *before[8:],
        ev.AttemptPlaced(107.5, "A", "payment", 2, "w2"),
    ]


class Recorded:
    """A source of recorded events, that remembers what it was asked for."""

    def __init__(self, events: Sequence[ev.Event]) -> None:
        self.events = list(enumerate(events, 1))
        self.asked: list[str] = []

    async def __call__(self, task: str) -> list[tuple[int, ev.Event]]:
        self.asked.append(task)
        return [(seq, event) for seq, event in self.events if not task or getattr(event, "task", "") == task]


def inside() -> list[ev.Event]:
    """The same; payment runs a graph, in whose second node a model is asked."""
    start, end = (
        partial(ev.InnerStarted, task="A", step="payment"),
        partial(ev.InnerEnded, task="A", step="payment"),
    )
    return [
        *order(),
        start(107.5, attempt=2, inner=1, name="check", kind="node"),
        end(107.6, attempt=2, inner=1, usage=ev.Usage(100, 20, usd=0.25, model="m")),
        start(107.6, attempt=2, inner=2, name="charge", kind="node"),
        start(107.6, attempt=2, inner=3, name="search", parent=2, kind="tool"),
        end(107.7, attempt=2, inner=3, fault=failed("no answer")),
        start(107.7, attempt=2, inner=4, name="model", parent=2, kind="model"),
    ]
