"""Dead letters, by cause and one by one, with a page on the selected one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from agentdeck.console.actions import bindings
from agentdeck.console.outline import OutlineItem, OutlineView, outline, prose
from agentdeck.console.run_records import RunRecords
from agentdeck.console.screens.dialogs import Choice, Confirm, TextDialog, ask
from agentdeck.console.screens.store_list import StoreListScreen
from agentdeck.console.status_lines import Footer
from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import moment, plural
from agentdeck.operations import engine_process
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.store.letters import Letter
from agentdeck.store.reader import LogLine, Reader
from agentdeck.terminal_text import clean
from agentdeck.views.inner_place import inside
from agentdeck.workflow.model import Definition

LINES = 200


class Cause(NamedTuple):
    """Letters of one fingerprint, oldest first."""

    cause: str
    letters: tuple[Letter, ...]

    @property
    def last(self) -> Letter:
        return self.letters[-1]


CAUSES: tuple[Column[Cause], ...] = (
    Column("count", lambda one: f"{len(one.letters):,}", 7, right=True, order=lambda one: len(one.letters)),
    Column("agent", lambda one: clean(one.last.agent), 12, order=lambda one: one.last.agent),
    Column("cause", lambda one: clean(f"{one.last.fault.kind}: {one.last.fault.message}"), 20, flex=1),
)
LETTERS: tuple[Column[Letter], ...] = (
    Column("id", lambda one: str(one.id), 6, right=True, order=lambda one: one.id),
    Column("task", lambda one: clean(one.task), 8, flex=1, most=18, order=lambda one: one.task),
    Column("step", lambda one: clean(one.step), 10, flex=2, order=lambda one: one.step),
    Column("attempts", lambda one: str(one.attempts), 8, right=True, rank=2, order=lambda one: one.attempts),
    Column("run", lambda one: clean(one.run), 11, rank=1),
    Column("when", lambda one: moment(one.at)[5:], 14, rank=3, order=lambda one: one.at),
)


class LettersScreen(StoreListScreen[Letter]):
    """Open letters of a run, or of all runs (`run` empty), read once a second. Retrying and dropping is done by
    `agentdeck letters` in a process of its own, so that it goes on when the console closes."""

    scope = "letters"
    BINDINGS = bindings("letters")
    CSS = """
    LettersScreen #lists { width: 1fr; }
    LettersScreen Table, LettersScreen OutlineView { border: round $line; border-title-color: $text-muted; }
    LettersScreen Table:focus, LettersScreen OutlineView:focus {
        border: round $primary; border-title-color: $primary;
    }
    LettersScreen Table { height: 1fr; }
    LettersScreen #sheet { width: 1fr; }
    LettersScreen.narrow #sheet { display: none; }
    LettersScreen.narrow.reading #sheet { display: block; }
    LettersScreen.narrow.reading #lists { display: none; }
    """

    def __init__(self, run: str = "") -> None:
        super().__init__()
        self.run = run
        self.letters: list[Letter] = []
        self.causes = TableRows[Cause](
            lambda one: one.cause, lambda one: f"{one.last.agent} {one.last.fault.message}"
        )
        self.rows = TableRows[Letter](lambda one: one.id, lambda one: f"{one.id} {one.task} {one.step} {one.run}")
        self._causes = Table(CAUSES, self.causes, empty="no open dead letters: nothing has failed for good")
        self._causes.border_title = f"dead letters of {run}" if run else "dead letters by cause"
        self._letters = Table(LETTERS, self.rows, empty="")
        self._letters.border_title = "with this cause"
        self._shown = 0
        self._processes: list[tuple[EngineProcess, frozenset[int]]] = []

    def compose(self) -> ComposeResult:
        with Horizontal():
            with Vertical(id="lists"):
                yield self._causes
                yield self._letters
            sheet = OutlineView()
            sheet.id, sheet.border_title = "sheet", "dead letter"
            yield sheet
        yield Footer()

    def on_mount(self) -> None:
        self._causes.focus()

    # Reading -------------------------------------------------------------------------------------------------

    async def read_rows(self) -> list[Letter]:
        return await self.store.read(Reader.letters, self.run or None, state="open")

    def show_rows(self, found: list[Letter]) -> None:
        self._report_ended({letter.id for letter in found})
        if found != self.letters or not self._shown:
            self.letters = found
            groups: dict[str, list[Letter]] = {}
            for letter in found:
                groups.setdefault(letter.cause, []).append(letter)
            causes = [Cause(cause, tuple(some)) for cause, some in groups.items()]
            self.causes.set_rows(sorted(causes, key=lambda one: -len(one.letters)))
            self._causes.refresh_lines()
            self._choose()

    @property
    def cause(self) -> Cause | None:
        return self.causes.row(self._causes.cursor) if self.causes.count else None

    @property
    def letter(self) -> Letter | None:
        cursor = self._letters.cursor
        return self.rows.row(cursor) if self.rows.count > cursor else None

    def _choose(self) -> None:
        """The letters of the cause under the cursor, and the page on one of them."""
        cause = self.cause
        self.rows.set_rows(cause.letters if cause is not None else ())
        self._letters.refresh_lines()
        self._page()

    def on_table_row_changed(self, event: Table.RowChanged) -> None:
        event.stop()
        if event.table is self._causes:
            self._choose()
            if event.opened:
                self._letters.focus()
        else:
            self._page()
            if event.opened:
                self.add_class("reading")
                self.query_one(OutlineView).focus()

    def _page(self) -> None:
        letter = self.letter
        if letter is None:
            self.query_one(OutlineView).show([OutlineItem("nothing failed for good", "dim")])
            self._shown = -1
        elif letter.id != self._shown:
            self._shown = letter.id
            self.query_one(OutlineView).show(page(letter))
            self.run_worker(self._add_log(letter), name="log", group="log", exclusive=True)

    async def _add_log(self, letter: Letter) -> None:
        """Add to the page on a letter where inside its attempt the step failed, and its log."""
        from agentdeck.insight.step import place_of_failure

        try:
            place = await self.store.read(place_of_failure, letter.run, letter.task, letter.step)
            lines = await self.store.read(
                Reader.logs, letter.run, agent=letter.step, task=letter.task, tail=LINES
            )
        except AgentdeckError:
            return
        if letter.id == self._shown and self.query(OutlineView):
            self.query_one(OutlineView).show(page(letter, lines, place))

    # Actions -------------------------------------------------------------------------------------------------

    def _chosen(self) -> list[Letter]:
        """The marked letters; else the selected one, or its whole cause where the causes have the focus."""
        if self._letters.marks:
            marked = {key for key in self._letters.marks if isinstance(key, int)}
            return [one for one in self.letters if one.id in marked]
        if self.focused is self._causes:
            return list(self.cause.letters) if self.cause is not None else []
        return [self.letter] if self.letter is not None else []

    def action_story(self) -> None:
        if (letter := self.letter) is not None:
            from agentdeck.console.step_detail import StepDetail

            records = RunRecords(self.console_app.db, letter.run)
            self.app.push_screen(StepDetail(records.story(letter.task, letter.step)))

    def action_back(self) -> None:
        if self.has_class("reading"):
            self.remove_class("reading")
            self._letters.focus()
        elif self.focused is self._letters:
            self._causes.focus()
        else:
            self.dismiss()

    # Retry and drop ------------------------------------------------------------------------------------------

    def _report_ended(self, still_open: set[int]) -> None:
        """Notify what the processes that have ended closed. `still_open` are the ids of all open letters."""
        for one in [one for one in self._processes if one[0].ended is not None]:
            self._processes.remove(one)
            process, letters = one
            left = letters & still_open
            words = process.stderr_tail.splitlines()
            text = words[-1] if words and (left or process.ended not in (0, 1)) else ""
            title = f"{len(letters) - len(left):,} of {plural(len(letters), 'dead letter')} closed"
            self.notify(text, title=title, severity="warning" if left else "information")

    def _start(self, verb: str, letters: Sequence[Letter], *options: str) -> None:
        ids = [letter.id for letter in letters]
        wait = ("--wait",) if verb == "retry" else ()  # this console answers what the run asks
        process = engine_process.start_letters_verb(self.console_app.db, verb, ids, *options, *wait)
        self._processes.append((process, frozenset(ids)))
        self._letters.marks.clear()

    def action_retry(self) -> None:
        """Run letters again. Of a `once` step that may have taken effect, ask first whether it did."""
        from agentdeck.operations.once_decision import UNKNOWN

        letters = self._chosen()
        if unknown := [letter for letter in letters if letter.fault.kind == UNKNOWN]:
            self._retry_decided(letters, unknown)
        else:
            self._confirm_retry(letters, f"Retry {plural(len(letters), 'dead letter')}")

    def action_try_one(self) -> None:
        """Run one letter of the cause again, and the rest only if that succeeds."""
        if self.cause is not None:
            self._confirm_retry(self.cause.letters, "Try one, then the rest", "--try-one")

    def _confirm_retry(self, letters: Sequence[Letter], title: str, *options: str) -> None:
        if not letters:
            self.notify("no dead letter is selected", severity="warning")
            return
        runs = len({letter.run for letter in letters})
        steps = sorted({letter.step.partition("[")[0] for letter in letters})
        touches = [
            f"{plural(len(letters), 'step')} of {plural(runs, 'run')}: {', '.join(steps[:6])}",
            "and what depended on them, in the same tasks; earlier attempts stay recorded",
        ]
        choices = [Choice("yes", "y", title), Choice("", "n", "No, change nothing")]
        question = Confirm(f"{title}?", touches, choices)
        ask(self, question, lambda _: self._start("retry", letters, *options))

    @work(group="retry", exclusive=True)
    async def _retry_decided(self, letters: list[Letter], unknown: list[Letter]) -> None:
        """Retry letters without those whose effect is not decided; where there is only one, ask about it."""
        from agentdeck.operations import once_decision

        try:
            undecided = await self.store.read(once_decision.undecided, unknown)
        except AgentdeckError:
            undecided = unknown
        if not self.is_active:
            return
        if len(letters) == 1 and undecided:
            self._ask_for_effect(undecided[0])
            return
        if undecided:
            effect = "may have taken effect: retry it alone to decide"
            self.notify(f"dead letter {undecided[0].id} {effect}", severity="warning")
            letters = [letter for letter in letters if letter not in undecided]
        if letters:
            self._confirm_retry(letters, f"Retry {plural(len(letters), 'dead letter')}")

    def _ask_for_effect(self, letter: Letter) -> None:
        """Ask whether a `once` step took effect; its result is recorded, or it is executed again."""

        def answered(answer: str) -> None:
            if answer == "again":
                self._start("retry", [letter], "--again")
                return
            about = "this result is recorded under the key, and the step is done; nothing is executed"
            question = TextDialog("It took effect: its result", about, placeholder="JSON or text")
            ask(self, question, lambda result: self._start("retry", [letter], "--took-effect", result))

        touches = [letter.fault.message.partition("\n")[0], *letter.fault.detail.splitlines()]
        choices = [
            Choice("", "n", "Decide later"),
            Choice("did", "t", "It took effect: record its result"),
            Choice("again", "a", "It did not: execute it again", danger=True),
        ]
        ask(self, Confirm(f"Did {letter.step} of task {letter.task} take effect?", touches, choices), answered)

    def action_edit(self) -> None:
        if letters := self._chosen():
            self._ask_for_input(letters)

    @work(group="edit", exclusive=True)
    async def _ask_for_input(self, letters: list[Letter]) -> None:
        """Ask for another input of the tasks, and run letters again with it."""
        try:
            definitions = await self.store.read(_definitions, sorted({letter.run for letter in letters}))
        except AgentdeckError as error:
            self.notify(clean(str(error)), severity="error")
            return
        if not self.is_active:
            return

        def answered(text: str) -> None:
            name, _, value = text.partition("=")
            name = name.strip().removeprefix("inputs.")
            self._start("retry", letters, "--set", f"inputs.{name}={value.strip()}")

        about = f"{plural(len(letters), 'dead letter')} will run again with a changed input"
        fault = partial(_input_fault, definitions)
        ask(self, TextDialog("Retry with", about, placeholder="name=value", fault=fault), answered)

    def action_drop(self) -> None:
        """Ask for the reason, and close letters without running their steps again."""
        if letters := self._chosen():
            about = (
                f"{plural(len(letters), 'dead letter')} will be closed without a retry; the reason is recorded"
            )
            question = TextDialog("Drop", about, placeholder="the reason")
            ask(self, question, lambda why: self._start("drop", letters, "--why", why))


def page(letter: Letter, lines: Sequence[LogLine] = (), place: str = "") -> list[OutlineItem]:
    """The page on a letter: the error, with the place inside the attempt, then the inputs, then the log."""
    fault = letter.fault
    items = [
        OutlineItem(f"{letter.step} of task {letter.task}", "title"),
        OutlineItem(f"run {letter.run}   dead letter {letter.id}   {moment(letter.at)}", "dim"),
        OutlineItem(),
        OutlineItem(fault.message.partition("\n")[0], "bad", 0, inside(place, f"{fault.kind}: ")),
    ]
    if fault.clock:
        items.append(OutlineItem(f"the {fault.clock} timeout expired", "warn"))
    items.append(OutlineItem(f"after {plural(letter.attempts, 'attempt')}", "dim"))
    items.append(OutlineItem(f"definition {letter.identity[:12]}", "dim"))
    more = "\n".join(filter(None, (fault.message.partition("\n")[2], fault.detail)))
    if more:
        items += [OutlineItem(), *prose(more, 0, "detail ")]
    items += [OutlineItem(), *outline(letter.inputs, 0, "inputs ")]
    if lines:
        items += [OutlineItem(), OutlineItem(f"log, {plural(len(lines), 'line')}", "title")]
        items += [
            OutlineItem(f"#{line.attempt} {line.text}", "bad" if line.level == "error" else "text", 1)
            for line in lines
        ]
    return items


def _definitions(reader: Reader, runs: Sequence[str]) -> list[Definition]:
    """The workflows of these runs, as they were recorded."""
    from agentdeck.engine.resume import definition_of

    return [definition_of(reader, reader.run(run)) for run in runs]


def _input_fault(definitions: Sequence[Definition], text: str) -> str:
    """Why `name=value` is no input of these workflows; empty where it is one."""
    from agentdeck.operations.inputs import inputs_from

    if not text.partition("=")[0].strip() or "=" not in text:
        return "write it as name=value"
    try:
        for definition in definitions:
            inputs_from([text.removeprefix("inputs.")], definition)
    except AgentdeckError as error:
        return str(error).removeprefix("-i ")
    return ""
