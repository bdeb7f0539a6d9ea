"""The tasks of a run: those that are open, those that failed, those that ended last."""

from __future__ import annotations

from operator import attrgetter
from typing import TypeAlias

from agentdeck.console.line_widget import Pieces, bar
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.panes.agents import BAR_STATES, number
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from agentdeck.console.throttle import Throttle
from agentdeck.insight.formatting import seconds
from agentdeck.terminal_text import clean
from agentdeck.views.run_view import RunView
from agentdeck.views.task_view import TaskRow, TaskView

Task: TypeAlias = TaskView | TaskRow
STRIP = 12


class TasksPane(Table[Task]):
    """The tasks table: open ones first, oldest on top, then failed ones and those that ended, newest first."""

    def __init__(self) -> None:
        self.rows = TableRows[Task](
            name_of, lambda task: f"{name_of(task)} {task.display_state} {error_of(task)}"
        )
        self.selection = Selection()
        self.now = 0.0
        self._throttle = Throttle()
        super().__init__(self._columns(), self.rows, empty="no tasks yet")

    def tick(self, view: RunView, now: float) -> None:
        if self._throttle.due():
            with self._throttle:
                self.now = now
                self.placeholder = ""
                self.rows.set_rows(tasks_of(view))
                self.refresh_lines()

    def show_selection(self, selection: Selection) -> None:
        self.selection = selection
        if selection.task:
            self.move_to_key(selection.task.partition("/")[0])

    @property
    def cursor_selection(self) -> Selection | None:
        if not self.rows.count or self.key == self.selection.task:
            return None
        return Selection(task=str(self.key))

    def on_table_row_changed(self, event: Table.RowChanged) -> None:
        event.stop()
        self.selection = Selection(task=str(event.key))
        self.post_message(SelectionChanged(self, self.selection, opened=event.opened))

    def _age(self, task: Task) -> float:
        return max(0.0, (self.now if task.ended is None else task.ended) - task.opened)

    def _columns(self) -> tuple[Column[Task], ...]:
        state = attrgetter("display_state")
        return (
            Column("state", lambda task: ((GLYPHS[state(task)], state(task)),), 1, title="", order=state),
            Column("task", lambda task: clean(name_of(task)), 8, flex=1, most=24, order=name_of),
            Column("is", lambda task: ((state(task), state(task)),), 9, rank=4, order=state),
            Column("steps", _strip, STRIP, rank=2),
            Column("age", lambda task: seconds(self._age(task)), 7, right=True, rank=1, order=self._age),
            Column(
                "tries", lambda task: number(attempts_of(task), "text"), 5, right=True, rank=3, order=attempts_of
            ),
            Column("error", _error, 12, flex=3, rank=1),
        )


def tasks_of(view: RunView) -> list[Task]:
    """The run's own tasks that are remembered, each once."""
    tasks: list[Task] = [task for task in view.open.values() if task.parent is None]
    tasks += [task for task in reversed(view.failed.values()) if task.parent is None]
    tasks += [row for row in reversed(view.recent) if row.task not in view.failed and row.task not in view.open]
    return tasks


def name_of(task: Task) -> str:
    return task.task if isinstance(task, TaskRow) else task.id


def attempts_of(task: Task) -> int:
    return task.attempts if isinstance(task, TaskRow) else sum(step.attempts for step in task.steps.values())


def error_of(task: Task) -> str:
    """Why it failed; of an open task, what went wrong last."""
    if isinstance(task, TaskRow):
        return task.error
    if task.fault is not None:
        return task.fault.message
    faulty = [step for step in task.steps.values() if step.fault is not None]
    last = max(faulty, key=lambda step: step.since, default=None)
    return f"{last.key}: {last.fault.message}" if last is not None and last.fault is not None else ""


def _error(task: Task) -> Pieces:
    return ((clean(error_of(task)), "bad" if task.state == "failed" else "warn"),)


def _strip(task: Task) -> Pieces:
    """A glyph for each agent of the task in order of declaration; a bar where they are too many, or forgotten."""
    if isinstance(task, TaskRow) or not task.steps:
        return bar([(1, task.state)], 1, STRIP) if task.ended is not None else ()
    steps = [task.steps.get(key) for key, totals in task.graph.agents.items() if totals.has_steps]
    states = ["waiting" if step is None else step.display_state for step in steps]
    if len(states) <= STRIP:
        return tuple((GLYPHS[state], state) for state in states)
    return bar([(states.count(state), state) for state in BAR_STATES], len(states), STRIP)
