"""What all live panes share: how they get their data, and how they tell each other what is selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from textual.message import Message

if TYPE_CHECKING:
    from agentdeck.views.run_view import View


@dataclass(frozen=True, slots=True)
class Focus:
    """What the operator looks at. Empty fields mean all: an agent of every task, a task with every agent.
    `agent` is the name as in `View.agents` (nested ones as `review/security`); `step` is the key in the task."""

    agent: str = ""
    task: str = ""
    step: str = ""


class Focused(Message):
    """A pane tells that the operator selected something. The screen hands it to all other panes.
    `opened` when it was chosen (Enter, double click) and not only walked over."""

    def __init__(self, focus: Focus, *, opened: bool = False) -> None:
        super().__init__()
        self.focus = focus
        self.opened = opened


class Pane(Protocol):
    """A widget that shows a run live.

    The screen calls `tick` in its one synchronous frame, at most 20 times a second and only when the pane can be
    seen; it takes what it needs out of the view, compares, and refreshes the regions that changed: never more
    than a few milliseconds, never an await, no layout. `now` is the run's clock. `focus` is called when another
    pane changed what is looked at. A view is replaced by another one when a replay seeks: nothing of it is kept
    between two ticks but for comparing.
    """

    def tick(self, view: View, now: float) -> None: ...

    def look_at(self, focus: Focus) -> None: ...

    @property
    def highlighted(self) -> Focus | None:
        """What the cursor of this pane is on, where the other panes do not look at that: while this pane has the
        keys, they act on it. None: on what all look at."""
