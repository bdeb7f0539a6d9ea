"""Everything that the palette and typed commands can do on a run screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from agentdeck.console.forecast_worker import Forecasts
from agentdeck.console.palette import PaletteEntry
from agentdeck.console.pane import Selection
from agentdeck.console.run_state import RunState
from agentdeck.console.screens.history_actions import HistoryActions
from agentdeck.console.screens.pane_layout import PaneLayout
from agentdeck.console.screens.run_actions import RunActions
from agentdeck.insight.limits import limits

MAX_OFFERED_TASKS = 2000


@dataclass(frozen=True, slots=True)
class RunControls:
    """The parts of a run screen, or of a replay."""

    state: RunState
    panes: PaneLayout
    actions: RunActions
    history: HistoryActions
    forecasts: Forecasts

    def command(self, name: str) -> Callable[[], None]:
        """What a typed command of this name does to the target."""
        commands: Mapping[str, Callable[[], None]] = {
            "hurry": self.actions.hurry,
            "cancel": self.actions.cancel,
            "skip": self.actions.skip,
            "release": self.actions.release,
            "hold": self.actions.hold,
            "answer": self.actions.answer,
            "retry": self.history.retry,
            "why": self.history.why,
        }
        return commands[name]

    def offers(self) -> Iterator[PaletteEntry]:
        """For the palette: agents, limits and open tasks of this run."""
        view, panes = self.state.view, self.panes
        for name in view.agents:
            select = partial(panes.select, Selection(agent=name))
            yield PaletteEntry(f"Agent {name}", "Select it in every pane.", select)
        for limit in limits(view, self.state.now):
            yield PaletteEntry(f"Limit {limit.name}", "Turn it.", partial(panes.show_limit, limit.name))
        for task in list(view.open)[:MAX_OFFERED_TASKS]:
            yield PaletteEntry(
                f"Task {task}", "Select it in every pane.", partial(panes.select, Selection(task=task))
            )
