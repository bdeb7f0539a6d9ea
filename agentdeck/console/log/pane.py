"""A log pane: a head line, the log lines, and a text field while the operator types a pattern or a file name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import regex
from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Click
from textual.screen import ModalScreen
from textual.widgets import Input

from agentdeck.console.actions import bindings
from agentdeck.console.form_fields import TextEntry
from agentdeck.console.line_widget import Line, LineWidget
from agentdeck.console.log.line_filter import LineFilter, LineQuery, level_below
from agentdeck.console.log.line_style import clock
from agentdeck.console.log.lines import CleanLine, LineStore, steady
from agentdeck.console.log.lines_widget import LogLines
from agentdeck.console.log.search import compiled
from agentdeck.console.outline import OutlineItem, OutlineView, outline, prose
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.insight.formatting import plural
from agentdeck.views.run_view import RunView

SLICE = 0.004  # seconds of a frame for filtering lines
HURRIED = 0.012  # the same while the operator waits for the matches of a pattern
NARROW = 40
STEPS = (0, 2, 3, 4)  # the least levels that `l` switches between
AROUND = (0, 2, 5)


class LogHead(LineWidget, can_focus=False):
    """The agent, the filter, and at the right `following` or the number of new lines."""

    DEFAULT_CSS = "LogHead { height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._parts: tuple[str, str, str, bool] = ("", "", "", False)
        self._mark = 0

    def show(self, title: str, about: str, mark: str, calls: bool) -> None:
        self._parts = (title, about, mark, calls)
        self.refresh_lines()

    def draw(self, y: int, width: int) -> Line:
        title, about, mark, calls = self._parts
        self._mark = room = max(0, width - cell_len(mark) - 2)
        own = min(cell_len(title), room)
        about = set_cell_size(about, max(0, room - own))
        active = isinstance(self.parent, LogPane) and self.parent.has_focus_within
        titled = (set_cell_size(title, own), "accent" if active else "title")
        return Line(((" ", "text"), titled, (about, "dim"), (mark, "cursor" if calls else "dim")))

    def on_click(self, event: Click) -> None:
        if event.x >= self._mark and isinstance(self.parent, LogPane):
            self.parent.body.action_follow()


class LogPane(Vertical):
    """The log of the selection, or of one agent where it is pinned.

    The screen calls `tick` in its frame. `agent` pins the pane to one; else it follows `show_selection`.
    """

    DEFAULT_CSS = """
    LogPane { height: 1fr; width: 1fr; }
    LogPane > Input { height: 1; border: none; padding: 0 1; display: none; }
    LogPane > Input:focus { border: none; }
    """
    BINDINGS = bindings("log", "pane")

    def __init__(self, lines: LineStore, *, agent: str = "") -> None:
        super().__init__()
        self.lines = lines
        self.agent = agent
        self.selection = Selection(agent=agent)
        self._names = len(lines.names)
        self.wanted = LineQuery(agents=self._family())
        self.head = LogHead()
        self.body = LogLines(LineFilter(lines, self.wanted))
        self.entry = TextEntry()
        self._entry_for = "find"
        self._fault = ""
        self._saving: Iterator[int] | None = None

    def compose(self) -> ComposeResult:
        yield self.head
        yield self.body
        yield self.entry

    def on_unmount(self) -> None:
        self.body.line_filter.close()

    @property
    def pinned(self) -> bool:
        return bool(self.agent)

    # The seam -----------------------------------------------------------------------------------------------

    def tick(self, view: RunView, now: float) -> None:
        self.frame()

    def frame(self) -> None:
        """Filter and show new lines: a tick without a view."""
        if self._names != len(self.lines.names):
            self._names = len(self.lines.names)
            if (family := self._family()) != self.wanted.agents:
                self._want(agents=family)
                return
        line_filter = self.body.line_filter
        line_filter.advance(HURRIED if line_filter.left > 10_000 else SLICE)
        self.body.sync()
        if self._saving is not None:
            self._save_some()
        self._show_head()

    @property
    def cursor_selection(self) -> Selection | None:
        line = self.body.current() if self.body.cursor is not None else None
        return Selection(line.agent, line.task, line.step) if line is not None and line.step else None

    def show_selection(self, selection: Selection) -> None:
        """Show the log of this selection, from its end. A pinned pane stays with its agent."""
        if self.pinned or selection == self.selection:
            return
        self.selection = selection
        self._want(
            agents=self._family(),
            task=selection.task,
            step=selection.step if "[" in selection.step else "",
            again=True,
        )

    def _family(self) -> frozenset[str]:
        """The selected agent, and those below it where it is a sub-workflow."""
        agent = self.selection.agent
        below = (name for name in self.lines.names if name.startswith(agent + "/"))
        return frozenset([agent, *below]) if agent else frozenset()

    def _want(self, *, again: bool = False, **changes: Any) -> None:
        self.wanted = replace(self.wanted, **changes)
        self.body.show(LineFilter(self.lines, self.wanted), again=again)
        self.frame()

    def _show_head(self) -> None:
        body, wanted, line_filter = self.body, self.wanted, self.body.line_filter
        shown = steady(self.selection.agent) or "all agents"
        parts = [fault for fault in (self._fault, line_filter.fault) if fault]
        if wanted.task:
            parts.append(f"task {steady(wanted.task)}")
        if wanted.step:
            parts.append(steady(wanted.step))
        if wanted.level:
            parts.append(f"{level_below(wanted.level)} and above")
        if wanted.pattern:
            around = f" ±{wanted.around}" if wanted.around else ""
            matches = len(line_filter.matches)
            parts.append(f"/{steady(wanted.pattern)}/{around} {matches:,} match{'es' * (matches != 1)}")
        else:
            parts.append(plural(len(line_filter.rows), "line"))
        if line_filter.left > 10_000 and not line_filter.fault:
            parts.append(f"{line_filter.left:,} to search")
        if self.lines.dropped:
            parts.append(f"{self.lines.dropped:,} dropped")
        new = body.new
        if body.following:
            mark = " ▼ following "
        else:
            mark = f" ▼ {new:,} new · End " if new else " ‖ End follows "
        if self.size.width < NARROW:
            mark = " ▼ " if body.following else f" ▼ {new:,} new " if new else " ‖ "
        pin = "◆ " if self.pinned else ""
        self.head.show(pin + shown, "  " + " · ".join(parts), mark, bool(new))

    # Finding ------------------------------------------------------------------------------------------------

    def _ask(self, what: str, value: str, placeholder: str) -> None:
        self._entry_for = what
        with self.entry.prevent(Input.Changed):
            self.entry.value = value
        self.entry.placeholder = placeholder
        self.entry.display = True
        self.screen.set_focus(self.entry)  # at once: what is typed next is meant for it

    def action_find(self) -> None:
        self._ask("find", self.wanted.pattern, "regex; Enter keeps the search, Esc clears it")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._entry_for == "find":
            self.find(event.value)

    def find(self, pattern: str) -> None:
        """Show the lines that match a pattern. A faulty pattern changes nothing, and the head says so."""
        self._fault = ""
        try:
            compiled(pattern)
        except (regex.error, OverflowError, RecursionError, ValueError) as error:
            self._fault = f"not a regular expression: {error}"
            self._show_head()
            return
        if pattern != self.wanted.pattern:
            self._want(pattern=pattern)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._leave_entry()
        if self._entry_for == "save" and event.value.strip():
            self.save(Path(event.value.strip()))

    def _leave_entry(self) -> None:
        self.entry.display = False
        self.body.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where there is nothing to clear, Escape is the screen's."""
        there = self.entry.display or self.wanted.pattern or self.wanted.level or self.body.cursor is not None
        return action != "clear" or bool(there)

    def action_clear(self) -> None:
        """Remove the text field, the pattern, the least level, or the cursor."""
        entered = bool(self.entry.display)
        if entered:
            self._leave_entry()
        self._fault = ""
        if (not entered or self._entry_for == "find") and (self.wanted.pattern or self.wanted.level):
            self._want(pattern="", level=0)
        elif self.body.cursor is not None:
            self.body.cursor = None
            self.body.refresh()

    def action_level(self) -> None:
        self._want(level=_after(STEPS, self.wanted.level))

    def action_task(self) -> None:
        """Only the task of the line under the cursor; once more, all of them."""
        line = self.body.current()
        if self.wanted.task:
            self._want(task="")
        elif line is not None:
            self._want(task=line.task.partition("/")[0])

    def action_around(self) -> None:
        self._want(around=_after(AROUND, self.wanted.around))

    # Actions on lines ----------------------------------------------------------------------------------------

    def on_log_lines_chosen(self, event: LogLines.Chosen) -> None:
        event.stop()
        self.app.push_screen(LineDetail(event.line))

    def action_step(self) -> None:
        line = self.body.current()
        if line is not None and line.step:
            self.post_message(SelectionChanged(self, Selection(line.agent, line.task, line.step), opened=True))

    def action_save(self) -> None:
        name = re.sub(r"[^\w.-]+", "-", self.selection.agent) or "run"
        self._ask("save", f"{name}.log", "file to save these lines to; Enter saves, Esc cancels")

    def save(self, path: Path) -> None:
        """Write the shown lines to a file, some in each frame."""
        self._saving = self._write(path.expanduser(), list(self.body.rows))

    def _write(self, path: Path, numbers: list[int]) -> Iterator[int]:
        written = 0
        with path.open("w", encoding="utf-8") as file:
            for number in numbers:
                if number < self.lines.first:
                    continue
                line = self.lines.line(number)
                file.write(f"{clock(int(line.at))} {line.level} {line.place} {line.text}\n")
                written += 1
                if written % 256 == 0:
                    yield written
        self.app.notify(f"{written:,} lines saved to {path.resolve()}", markup=False)

    def _save_some(self) -> None:
        assert self._saving is not None
        until = perf_counter() + HURRIED
        try:
            while perf_counter() < until:
                if next(self._saving, None) is None:
                    self._saving = None
                    return
        except OSError as error:
            self._saving = None
            self.app.notify(f"not saved: {error.strerror or error}", severity="error", markup=False)


def _after(steps: tuple[int, ...], now: int) -> int:
    return steps[(steps.index(now) + 1) % len(steps)] if now in steps else steps[0]


class LineDetail(ModalScreen[None]):
    DEFAULT_CSS = """
    LineDetail { align: center middle; }
    LineDetail > OutlineView {
        width: 90%; max-width: 140; height: 80%; border: round $primary; padding: 0 1; background: $surface;
    }
    """
    BINDINGS = bindings("line")

    def __init__(self, line: CleanLine) -> None:
        super().__init__()
        self.line = line

    def compose(self) -> ComposeResult:
        line = self.line
        about = f"{clock(int(line.at))} · {line.place} · attempt {line.attempt} · {line.level}"
        try:
            value = json.loads(line.text) if line.text[:1] in ("{", "[") else line.text
        except (ValueError, RecursionError):
            value = line.text
        items = list(prose(value)) if isinstance(value, str) else outline(value)
        yield OutlineView([OutlineItem(about, "dim"), OutlineItem(), *items])
