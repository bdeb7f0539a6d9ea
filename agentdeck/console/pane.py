"""The interface of live panes: how they get their data, and how they share one selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from textual.message import Message
from textual.widget import Widget

if TYPE_CHECKING:
    from agentdeck.views.run_view import RunView


PaneName: TypeAlias = Literal["graph", "agents", "tasks", "timeline", "log", "limits"]
#: In the order of their number keys.
PANES: tuple[PaneName, ...] = get_args(PaneName)


@dataclass(frozen=True, slots=True)
class Selection:
    """What the operator has selected in a run. An empty field means all: an agent of every task, a task with
    every agent. `agent` is the name as in `View.agents` (nested ones as `review/security`); `step` is the key in
    the task."""

    agent: str = ""
    task: str = ""
    step: str = ""

    @property
    def step_name(self) -> str:
        """The step that commands act on, in whatever tasks; empty where none is selected."""
        return self.step or self.agent.rpartition("/")[2]


class SelectionChanged(Message):
    """The operator selected something in a pane. The screen passes it to all other panes. `opened`: by Enter or
    a double click, and not only by moving the cursor."""

    def __init__(self, pane: Widget, selection: Selection, *, opened: bool = False) -> None:
        super().__init__()
        self.pane = pane
        self.selection = selection
        self.opened = opened


class Pane(Protocol):
    """A widget that shows a run live.

    The screen calls `tick` in its one synchronous frame, at most 20 times a second and only while the pane is
    visible. The pane reads the view, compares, and refreshes the regions that changed: within a few milliseconds,
    without awaiting, without a layout. `now` is the run's clock. `show_selection` is called when another pane
    changed the selection. Seeking in a replay replaces the view by another one, so a pane keeps values of a view
    between two ticks only to compare them.
    """

    def tick(self, view: RunView, now: float) -> None: ...

    def show_selection(self, selection: Selection) -> None: ...

    @property
    def cursor_selection(self) -> Selection | None:
        """What this pane's cursor is on, where that differs from the shared selection: keys act on it while the
        pane has the focus. None: keys act on the shared selection."""
