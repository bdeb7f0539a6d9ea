"""Dead letters: by cause, one by one, with what it takes to look into them; run again or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from agentdeck.console.actions import bindings
from agentdeck.console.columns import Column
from agentdeck.console.footer import Footer
from agentdeck.console.outline import Item, Sheet, outline, prose
from agentdeck.console.run_records import RunRecords
from agentdeck.console.screens.ask import Ask
from agentdeck.console.screens.base import SizedScreen
from agentdeck.console.screens.confirm import Choice, Confirm
from agentdeck.console.table import Table
from agentdeck.console.table_rows import Rows
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import moment, plural
from agentdeck.operations import engine_process
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.letters import Letter
from agentdeck.store.reader import LogLine, Reader
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Definition

AGAIN = 1.0
LINES = 200


class Cause(NamedTuple):
    """Letters of one fingerprint, oldest first."""

    cause: str
    letters: tuple[Letter, ...]

    @property
    def last(self) -> Letter:
        return self.letters[-1]


CAUSES: tuple[Column[Cause], ...] = (
    Column("letters", lambda one: f"{len(one.letters):,}", 7, right=True, order=lambda one: len(one.letters)),
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


class LettersScreen(SizedScreen):
    """Open letters of a run, or of all runs (`run` empty), read once a second. Retrying and dropping is done by
    `agentdeck letters` in a process of its own, so that it goes on when the console closes."""

    scope = "letters"
    BINDINGS = bindings("letters")
    CSS = """
    LettersScreen #lists { width: 1fr; }
    LettersScreen Table, LettersScreen Sheet { border: round $line; border-title-color: $text-muted; }
    LettersScreen Table:focus, LettersScreen Sheet:focus { border: round $primary; border-title-color: $primary; }
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
        self.causes = Rows[Cause](lambda one: one.cause, lambda one: f"{one.last.agent} {one.last.fault.message}")
        self.rows = Rows[Letter](lambda one: one.id, lambda one: f"{one.id} {one.task} {one.step} {one.run}")
        self._asked: list[tuple[engine_process.EngineProcess, frozenset[int]]] = []
        self._shown = 0
        self._reading = False

    def compose(self) -> ComposeResult:
        causes = Table(CAUSES, self.causes, empty="no open letters: nothing has failed for good")
        causes.id, causes.border_title = "causes", f"letters of {self.run}" if self.run else "letters by cause"
        letters = Table(LETTERS, self.rows, empty="")
        letters.id, letters.border_title = "letters", "of this cause"
        with Horizontal():
            with Vertical(id="lists"):
                yield causes
                yield letters
            sheet = Sheet()
            sheet.id, sheet.border_title = "sheet", "letter"
            yield sheet
        yield Footer()

    def on_mount(self) -> None:
        self._store = AsyncReader(self.console_app.db)
        self.query_one("#causes").focus()
        self._timer = self.set_interval(AGAIN, self._look)
        self._look()

    async def on_unmount(self) -> None:
        await self._store.close()

    def on_screen_suspend(self) -> None:
        self._timer.pause()

    def on_screen_resume(self) -> None:
        self._timer.resume()

    # Reading -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if not self._reading:
            self._reading = True
            self.run_worker(self._read(), name="letters", group="letters")

    async def _read(self) -> None:
        fault, found = "", list[Letter]()
        try:
            found = await self._store.read(Reader.letters, self.run or None, state="open")
        except AgentdeckError as error:
            fault = str(error)
        self._reading = False
        self._take(found, fault)

    def _take(self, found: list[Letter], fault: str) -> None:
        if not self.query(Sheet):  # the screen is being closed
            return
        if fault:
            self.notify(clean(fault), title="store", severity="error", markup=False)
            return
        for asked in [one for one in self._asked if one[0].ended is not None]:
            self._asked.remove(asked)
            self._tell(*asked, {one.id for one in found})
        if found != self.letters or not self._shown:
            self.letters = found
            groups: dict[str, list[Letter]] = {}
            for letter in found:
                groups.setdefault(letter.cause, []).append(letter)
            causes = [Cause(cause, tuple(some)) for cause, some in groups.items()]
            self.causes.put(sorted(causes, key=lambda one: -len(one.letters)))
            self._causes.touch()
            self._choose()

    def _tell(self, engine: engine_process.EngineProcess, asked: frozenset[int], still: set[int]) -> None:
        """What came of it."""
        left = asked & still
        words = engine.stderr_tail.splitlines()
        said = words[-1] if words and (left or engine.ended not in (0, 1)) else ""
        title = f"{len(asked) - len(left):,} of {plural(len(asked), 'letter')} closed"
        self.notify(said, title=title, severity="warning" if left else "information", markup=False)

    @property
    def _causes(self) -> Table[Cause]:
        return self.query_one("#causes", Table)

    @property
    def _letters(self) -> Table[Letter]:
        return self.query_one("#letters", Table)

    @property
    def cause(self) -> Cause | None:
        return self.causes.row(self._causes.cursor) if self.causes.count else None

    @property
    def letter(self) -> Letter | None:
        table = self._letters
        return self.rows.row(table.cursor) if self.rows.count > table.cursor else None

    def _choose(self) -> None:
        """The letters of the cause under the cursor, and the page on one of them."""
        cause = self.cause
        self.rows.put(cause.letters if cause is not None else ())
        self._letters.touch()
        self._page()

    def on_table_walked(self, event: Table.Walked) -> None:
        event.stop()
        if event.table.id == "causes":
            self._choose()
            if event.opened:
                self._letters.focus()
        else:
            self._page()
            if event.opened:
                self.add_class("reading")
                self.query_one(Sheet).focus()

    def _page(self) -> None:
        letter = self.letter
        if letter is None:
            self.query_one(Sheet).show([Item("nothing failed for good", "dim")])
            self._shown = -1
        elif letter.id != self._shown:
            self._shown = letter.id
            self.query_one(Sheet).show(page(letter))
            self.run_worker(self._add_log(letter), name="log", group="log", exclusive=True)

    async def _add_log(self, letter: Letter) -> None:
        """Add the step's log to the page on its letter."""
        try:
            lines = await self._store.read(
                Reader.logs, letter.run, agent=letter.step, task=letter.task, tail=LINES
            )
        except AgentdeckError:
            return
        if letter.id == self._shown and self.query(Sheet):
            self.query_one(Sheet).show(page(letter, lines))

    # What is done --------------------------------------------------------------------------------------------

    def _chosen(self) -> list[Letter]:
        """The marked letters; else the one selected, or the whole cause where the causes have the keys."""
        if self._letters.marks:
            marked = {key for key in self._letters.marks if isinstance(key, int)}
            return [one for one in self.letters if one.id in marked]
        if self.focused is self._causes:
            return list(self.cause.letters) if self.cause is not None else []
        return [self.letter] if self.letter is not None else []

    def _call(self, verb: str, chosen: Sequence[Letter], *more: str) -> None:
        ids = [one.id for one in chosen]
        wait = ("--wait",) if verb == "retry" else ()  # this console answers what the run asks
        engine = engine_process.start_letters_verb(self.console_app.db, verb, ids, *more, *wait)
        self._asked.append((engine, frozenset(ids)))
        self._letters.marks.clear()

    def _sure(self, chosen: Sequence[Letter], what: str, *more: str) -> None:
        if not chosen:
            self.notify("no letter is selected", severity="warning", markup=False)
            return
        runs = len({one.run for one in chosen})
        steps = sorted({one.step.partition("[")[0] for one in chosen})
        touches = [
            f"{plural(len(chosen), 'step')} of {plural(runs, 'run')}: {', '.join(steps[:6])}",
            "and what depended on them, in the same tasks; old attempts are kept",
        ]

        def answered(answer: str | None) -> None:
            if answer:
                self._call("retry", chosen, *more)

        choices = [Choice("yes", "y", what), Choice("", "n", "No, leave them")]
        self.app.push_screen(Confirm(f"{what}?", touches, choices), answered)

    async def _undecided(self, chosen: Sequence[Letter]) -> list[Letter]:
        """Those of steps that may have taken effect, where no operator has decided yet whether they did."""
        from agentdeck.operations.once_decision import undecided

        try:
            return await self._store.read(undecided, chosen)
        except AgentdeckError:
            return list(chosen)

    def _decide(self, letter: Letter) -> None:
        """Ask whether a `once` step took effect; its result is recorded, or it is executed again."""

        def recorded(result: str | None) -> None:
            if result:
                self._call("retry", [letter], "--took-effect", result)

        def answered(answer: str | None) -> None:
            if answer == "again":
                self._call("retry", [letter], "--again")
            elif answer == "did":
                told = "the result is recorded under the key, and the step is done with it; nothing is executed"
                self.app.push_screen(
                    Ask("It took effect, with the result", told, placeholder="JSON or text"), recorded
                )

        touches = [letter.fault.message.partition("\n")[0], *letter.fault.detail.splitlines()]
        choices = [
            Choice("", "n", "Not now, leave it"),
            Choice("did", "t", "It took effect: record its result"),
            Choice("again", "a", "It did not: execute it again", danger=True),
        ]
        self.app.push_screen(
            Confirm(f"Did {letter.step} of task {letter.task} take effect?", touches, choices), answered
        )

    def action_retry(self) -> None:
        from agentdeck.operations.once_decision import UNKNOWN

        chosen = self._chosen()
        unknown = [one for one in chosen if one.fault.kind == UNKNOWN]
        if unknown:
            self.run_worker(self._retry(chosen, unknown), name="retry", group="retry", exclusive=True)
        else:
            self._sure(chosen, f"Retry {plural(len(chosen), 'letter')}")

    async def _retry(self, chosen: list[Letter], unknown: list[Letter]) -> None:
        undecided = await self._undecided(unknown)
        if not self.is_active:
            return
        if len(chosen) == 1 and undecided:
            self._decide(undecided[0])
            return
        if undecided:
            told = "may have taken effect: retry it by itself to decide that"
            self.notify(f"letter {undecided[0].id} {told}", severity="warning", markup=False)
            chosen = [one for one in chosen if one not in undecided]
            if not chosen:
                return
        self._sure(chosen, f"Retry {plural(len(chosen), 'letter')}")

    def action_try_one(self) -> None:
        """One of the cause first; the rest only if that went well."""
        if self.cause is not None:
            self._sure(self.cause.letters, "Try one, then the rest", "--try-one")

    def action_edit(self) -> None:
        if chosen := self._chosen():
            self.run_worker(self._edit(chosen), name="edit", group="edit", exclusive=True)

    async def _edit(self, chosen: list[Letter]) -> None:
        """Ask for another input of the letters' tasks."""
        try:
            definitions = await self._store.read(_definitions, sorted({one.run for one in chosen}))
        except AgentdeckError as error:
            self.notify(clean(str(error)), severity="error", markup=False)
            return
        if not self.is_active:
            return

        def answered(text: str | None) -> None:
            if text:
                name, _, value = text.partition("=")
                name = name.strip().removeprefix("inputs.")
                self._call("retry", chosen, "--set", f"inputs.{name}={value.strip()}")

        told = f"{plural(len(chosen), 'letter')} will run again with another input of the task"
        fault = partial(_not_an_input, definitions)
        self.app.push_screen(Ask("Retry with", told, placeholder="name=value", fault=fault), answered)

    def action_story(self) -> None:
        letter = self.letter
        if letter is not None:
            from agentdeck.console.step_detail import StepDetail

            records = RunRecords(self.console_app.db, letter.run)
            self.app.push_screen(StepDetail(partial(records.story, letter.task, letter.step)))

    def action_drop(self) -> None:
        chosen = self._chosen()
        if not chosen:
            return

        def answered(why: str | None) -> None:
            if why:
                self._call("drop", chosen, "--why", why)

        told = f"{plural(len(chosen), 'letter')} will be closed without running again; the reason is kept"
        self.app.push_screen(Ask("Drop", told, placeholder="why it need not run again"), answered)

    def action_back(self) -> None:
        if self.has_class("reading"):
            self.remove_class("reading")
            self._letters.focus()
        elif self.focused is self._letters:
            self._causes.focus()
        else:
            self.dismiss()


def _definitions(reader: Reader, runs: Sequence[str]) -> list[Definition]:
    """The workflows of these runs, as they were recorded."""
    from agentdeck.engine.resume import definition_of

    return [definition_of(reader, reader.run(run)) for run in runs]


def _not_an_input(definitions: Sequence[Definition], text: str) -> str:
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


def page(letter: Letter, lines: Sequence[LogLine] = ()) -> list[Item]:
    """A letter to read: what went wrong first, then with what, then what had been said."""
    fault = letter.fault
    items = [
        Item(f"{letter.step} of task {letter.task}", "title"),
        Item(f"run {letter.run}   letter {letter.id}   {moment(letter.at)}", "dim"),
        Item(),
        Item(fault.message.partition("\n")[0], "bad", 0, f"{fault.kind}: "),
    ]
    if fault.clock:
        items.append(Item(f"the {fault.clock} clock fired", "warn"))
    items.append(Item(f"after {plural(letter.attempts, 'attempt')}", "dim"))
    items.append(Item(f"definition {letter.identity[:12]}", "dim"))
    more = "\n".join(filter(None, (fault.message.partition("\n")[2], fault.detail)))
    if more:
        items += [Item(), *prose(more, 0, "detail ")]
    items += [Item(), *outline(letter.inputs, 0, "inputs ")]
    if lines:
        items += [Item(), Item(f"log, {plural(len(lines), 'line')}", "title")]
        items += [
            Item(f"#{line.attempt} {line.text}", "bad" if line.level == "error" else "text", 1) for line in lines
        ]
    return items
