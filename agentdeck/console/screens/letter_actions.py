"""What an operator does with dead letters: retry them, with another input or one by one, or drop them.

`agentdeck letters` does it in a process of its own, so that it goes on when the console closes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from textual.screen import Screen

from agentdeck.console.screens.dialogs import Choice, Confirm, TextDialog
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import plural
from agentdeck.operations import engine_process
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.letters import Letter
from agentdeck.store.reader import Reader
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Definition


class LetterActions:
    """`screen` shows the questions; `started` is called when a process was started on letters."""

    def __init__(self, screen: Screen[None], db: Path, store: AsyncReader, started: Callable[[], object]) -> None:
        self._screen = screen
        self._db = db
        self._store = store
        self._started = started
        self._processes: list[tuple[EngineProcess, frozenset[int]]] = []

    def report_ended(self, still_open: set[int]) -> None:
        """Notify what the processes that have ended closed. `still_open` are the ids of all open letters."""
        for one in [one for one in self._processes if one[0].ended is not None]:
            self._processes.remove(one)
            process, letters = one
            left = letters & still_open
            words = process.stderr_tail.splitlines()
            text = words[-1] if words and (left or process.ended not in (0, 1)) else ""
            title = f"{len(letters) - len(left):,} of {plural(len(letters), 'letter')} closed"
            self._screen.notify(text, title=title, severity="warning" if left else "information", markup=False)

    def _start(self, verb: str, letters: Sequence[Letter], *options: str) -> None:
        ids = [letter.id for letter in letters]
        wait = ("--wait",) if verb == "retry" else ()  # this console answers what the run asks
        process = engine_process.start_letters_verb(self._db, verb, ids, *options, *wait)
        self._processes.append((process, frozenset(ids)))
        self._started()

    def _confirm_retry(self, letters: Sequence[Letter], title: str, *options: str) -> None:
        if not letters:
            self._screen.notify("no letter is selected", severity="warning", markup=False)
            return
        runs = len({letter.run for letter in letters})
        steps = sorted({letter.step.partition("[")[0] for letter in letters})
        touches = [
            f"{plural(len(letters), 'step')} of {plural(runs, 'run')}: {', '.join(steps[:6])}",
            "and what depended on them, in the same tasks; old attempts are kept",
        ]

        def answered(answer: str | None) -> None:
            if answer:
                self._start("retry", letters, *options)

        choices = [Choice("yes", "y", title), Choice("", "n", "No, leave them")]
        self._screen.app.push_screen(Confirm(f"{title}?", touches, choices), answered)

    # Retry --------------------------------------------------------------------------------------------------

    def retry(self, letters: list[Letter]) -> None:
        """Run letters again. Of a `once` step that may have taken effect, ask first whether it did."""
        from agentdeck.operations.once_decision import UNKNOWN

        unknown = [letter for letter in letters if letter.fault.kind == UNKNOWN]
        if unknown:
            retry = self._retry_decided(letters, unknown)
            self._screen.run_worker(retry, name="retry", group="retry", exclusive=True)
        else:
            self._confirm_retry(letters, f"Retry {plural(len(letters), 'letter')}")

    async def _retry_decided(self, letters: list[Letter], unknown: list[Letter]) -> None:
        """Retry letters without those whose effect is not decided; where there is only one, ask about it."""
        undecided = await self._undecided(unknown)
        if not self._screen.is_active:
            return
        if len(letters) == 1 and undecided:
            self._ask_for_effect(undecided[0])
            return
        if undecided:
            told = "may have taken effect: retry it by itself to decide that"
            self._screen.notify(f"letter {undecided[0].id} {told}", severity="warning", markup=False)
            letters = [letter for letter in letters if letter not in undecided]
            if not letters:
                return
        self._confirm_retry(letters, f"Retry {plural(len(letters), 'letter')}")

    async def _undecided(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those of steps that may have taken effect, where no operator has decided yet whether they did."""
        from agentdeck.operations.once_decision import undecided

        try:
            return await self._store.read(undecided, letters)
        except AgentdeckError:
            return list(letters)

    def _ask_for_effect(self, letter: Letter) -> None:
        """Ask whether a `once` step took effect; its result is recorded, or it is executed again."""

        def recorded(result: str | None) -> None:
            if result:
                self._start("retry", [letter], "--took-effect", result)

        def answered(answer: str | None) -> None:
            if answer == "again":
                self._start("retry", [letter], "--again")
            elif answer == "did":
                told = "the result is recorded under the key, and the step is done with it; nothing is executed"
                question = TextDialog("It took effect, with the result", told, placeholder="JSON or text")
                self._screen.app.push_screen(question, recorded)

        touches = [letter.fault.message.partition("\n")[0], *letter.fault.detail.splitlines()]
        choices = [
            Choice("", "n", "Not now, leave it"),
            Choice("did", "t", "It took effect: record its result"),
            Choice("again", "a", "It did not: execute it again", danger=True),
        ]
        title = f"Did {letter.step} of task {letter.task} take effect?"
        self._screen.app.push_screen(Confirm(title, touches, choices), answered)

    def try_one(self, letters: Sequence[Letter]) -> None:
        """Run one of these letters again, and the rest only if that succeeds."""
        self._confirm_retry(letters, "Try one, then the rest", "--try-one")

    def retry_with(self, letters: list[Letter]) -> None:
        """Ask for another input, and run letters again with it."""
        if letters:
            self._screen.run_worker(self._ask_for_input(letters), name="edit", group="edit", exclusive=True)

    async def _ask_for_input(self, letters: list[Letter]) -> None:
        runs = sorted({letter.run for letter in letters})
        try:
            definitions = await self._store.read(_definitions, runs)
        except AgentdeckError as error:
            self._screen.notify(clean(str(error)), severity="error", markup=False)
            return
        if not self._screen.is_active:
            return

        def answered(text: str | None) -> None:
            if text:
                name, _, value = text.partition("=")
                name = name.strip().removeprefix("inputs.")
                self._start("retry", letters, "--set", f"inputs.{name}={value.strip()}")

        told = f"{plural(len(letters), 'letter')} will run again with another input of the task"
        question = TextDialog(
            "Retry with", told, placeholder="name=value", fault=partial(_input_fault, definitions)
        )
        self._screen.app.push_screen(question, answered)

    # Drop ---------------------------------------------------------------------------------------------------

    def drop(self, letters: list[Letter]) -> None:
        """Ask for the reason, and close letters without running their steps again."""
        if not letters:
            return

        def answered(why: str | None) -> None:
            if why:
                self._start("drop", letters, "--why", why)

        told = f"{plural(len(letters), 'letter')} will be closed without running again; the reason is kept"
        self._screen.app.push_screen(TextDialog("Drop", told, placeholder="why it need not run again"), answered)


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
