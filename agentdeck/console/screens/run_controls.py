"""The parts of a run screen and of a replay, and what the palette offers for the run on the screen.

Commands are typed into the palette with arguments: `hurry 17`, `cancel 3/pay`, `workers 12`, `budget +0.40`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import TypeAlias

from textual.screen import Screen

from agentdeck.console.forecast_worker import Forecasts
from agentdeck.console.log.lines import agent_of
from agentdeck.console.palette import PaletteEntry
from agentdeck.console.pane import Selection
from agentdeck.console.panes.limits import LimitsPane, read
from agentdeck.console.panes.timeline import TimelinePane
from agentdeck.console.run_records import RunRecords
from agentdeck.console.run_state import RunState
from agentdeck.console.screens.history_actions import HistoryActions, StartEngine
from agentdeck.console.screens.pane_layout import PaneLayout
from agentdeck.console.screens.run_actions import RunActions, RunContext, SendCommand
from agentdeck.insight.limits import limits
from agentdeck.insight.what_if import RunSnapshot, snapshot_run
from agentdeck.operations.action_types import Action
from agentdeck.operations.actions import of
from agentdeck.scheduler.state import ENDED
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition

MAX_OFFERED_TASKS = 2000
OFFERED = 12  # targets that are offered for a command
#: The commands that can be typed, by their first word.
TYPED = {action.name: action for action in of("run") if action.typed}
#: Kinds of targets that are selected on the screen before the command acts on them.
SELECTABLE = {"task", "agent", "step"}
Match: TypeAlias = tuple[str, Selection]


class RunControls:
    """Makes the parts of a screen that shows a run: `panes`, `records`, `actions` and `history`. `send` and
    `start_engine` carry out what an operator decides, `hint` shows a sentence for a while.

    `commands` is what an operator can do to the target, by the name of the action.
    """

    def __init__(
        self,
        screen: Screen[None],
        state: RunState,
        send: SendCommand,
        start_engine: StartEngine,
        hint: Callable[[str], None],
    ) -> None:
        self.state = state
        self.panes = PaneLayout(state.last_output)
        self.records = RunRecords(state.db, state.run)
        self.forecasts = Forecasts(self._snapshot)
        context = RunContext(screen, state, self.panes, self.records, send)
        self.actions = actions = RunActions(context, self.forecasts)
        self.history = HistoryActions(context, start_engine, hint)
        self.commands: Mapping[str, Callable[[], None]] = {
            "zoom": self.panes.toggle_zoom,
            "pause": actions.pause,
            "drain": actions.drain,
            "cancel_run": actions.cancel_run,
            "more": partial(actions.scale_workers, 1.25),
            "fewer": partial(actions.scale_workers, 0.8),
            "budget": actions.ask_budget,
            "cancel": actions.cancel,
            "skip": actions.skip,
            "hold": actions.hold,
            "hurry": actions.hurry,
            "release": actions.release,
            "answer": actions.answer,
            "next": self.history.next_need,
            "why": self.history.why,
            "retry": self.history.retry,
        }

    def build(self, definition: Definition) -> None:
        """Mount the panes, once the workflow of the run is known."""
        limits_pane = LimitsPane(self.actions.change_limit, self.forecasts)
        self.panes.build(
            definition, TimelinePane(self.records.events, self.records.lanes), limits_pane, self.history.open
        )

    def _snapshot(self) -> RunSnapshot:
        view = self.state.view
        assert view.definition is not None
        return snapshot_run(view, view.definition, self.panes.header.total, self.state.calls)

    def offers(self) -> Iterator[PaletteEntry]:
        """Yields what the palette offers: agents, limits and open tasks of this run."""
        view, panes = self.state.view, self.panes
        for name in view.agents:
            select = partial(panes.select, Selection(agent=name))
            yield PaletteEntry(f"Agent {name}", "Select it in every pane.", select)
        for limit in limits(view, self.state.now):
            yield PaletteEntry(f"Limit {limit.name}", "Change it.", partial(panes.show_limit, limit.name))
        for task in list(view.open)[:MAX_OFFERED_TASKS]:
            select = partial(panes.select, Selection(task=task))
            yield PaletteEntry(f"Task {task}", "Select it in every pane.", select)

    def typed_entries(self, query: str) -> Iterator[PaletteEntry]:
        """Yields the commands that a typed line means for this run; none where its first word is no command."""
        word, _, rest = query.strip().partition(" ")
        rest = rest.strip()
        action = TYPED.get(word)
        if action is not None and SELECTABLE.issuperset(action.targets) and (rest or query.endswith(" ")):
            for text, selection in islice(_matches(self.state.view, action.targets, rest), OFFERED):
                yield PaletteEntry(f"{word} {text}", action.typed, partial(self._act, action, selection))
        elif action is not None and "amount" in action.arguments and rest:
            yield PaletteEntry(f"{word} {rest}", action.typed, partial(self.actions.grant, rest))
        else:
            yield from self._limit_entries(word, rest)

    def _act(self, action: Action, selection: Selection) -> None:
        self.panes.select(selection)
        if action.id == "run.go":
            return
        # Without the override, a pane that does not show the target would have its own row acted on.
        self.panes.override = selection
        try:
            self.commands[action.name]()
        finally:
            self.panes.override = None

    def _limit_entries(self, word: str, rest: str) -> Iterator[PaletteEntry]:
        """Yields changes of limits: `workers 12`, `workers=12`, `limits sage.tokens=80k/min`."""
        line = rest if word == "limits" else f"{word} {rest}".strip()
        name, _, text = line.replace("=", " ", 1).partition(" ")
        text = text.strip()
        if not name or not (text or word == "limits"):
            return
        for limit in limits(self.state.view, self.state.now):
            if limit.name != name and not (word == "limits" and limit.name.startswith(name)):
                continue
            title = f"{limit.name} = {text}"
            try:
                value = read(limit, text)
            except ValueError as error:
                yield PaletteEntry(title, f"it is {limit.value} now; {error}", lambda: None)
            else:
                change = partial(self.actions.change_limit, limit.name, value)
                yield PaletteEntry(title, self.forecasts(limit.name, value), change)


def _matches(view: RunView, kinds: Collection[str], text: str) -> Iterator[Match]:
    """Yields the tasks, agents and steps of these kinds whose name begins with a text."""
    task, slash, step = text.rpartition("/")
    if "step" in kinds and slash:
        yield from _steps_of_task(view, task, step)
    if "task" in kinds:
        yield from _tasks(view, text)
    elif "step" in kinds and not slash:
        for name in view.open:
            if name.startswith(text):
                yield from _steps_of_task(view, name, "")
    if "agent" in kinds:
        yield from ((name, Selection(agent=name)) for name in view.agents if name.startswith(text))


def _tasks(view: RunView, text: str) -> Iterator[Match]:
    """Yields the open task of exactly this name first, then those that begin with it."""
    if text in view.open:
        yield text, Selection(task=text)
    for name in (*view.open, *view.failed):
        if name.startswith(text) and name != text:
            yield name, Selection(task=name)


def _steps_of_task(view: RunView, task: str, text: str) -> Iterator[Match]:
    """Yields the steps of a task whose name begins with a text, those that have not ended first."""
    shown = view.open.get(task) or view.failed.get(task)
    if shown is None:
        return
    names = [key for key, totals in shown.graph.agents.items() if totals.has_steps]
    keys = dict.fromkeys((*names, *shown.steps))
    ended = [key for key in keys if (step := shown.steps.get(key)) is not None and step.state in ENDED]
    for key in (*(key for key in keys if key not in ended), *ended):
        if key.startswith(text):
            yield f"{task}/{key}", Selection(agent_of(task, key), task, key)
