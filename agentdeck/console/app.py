"""The app: its screens, its theme, its keys, and the engines it has started."""

from __future__ import annotations

import asyncio
import os

os.environ.setdefault("TEXTUAL_FPS", "120")  # read by textual when it is imported: how soon a key is painted

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App
from textual.command import Provider
from textual.screen import Screen

from agentdeck.console import gc_tuning
from agentdeck.console.actions import bindings, load_keymap
from agentdeck.console.key_priority import KEYS
from agentdeck.console.key_queue import KeyQueue
from agentdeck.console.palette import Palette, PaletteEntries
from agentdeck.console.process_exit import DaemonExecutor, end_on_hangup
from agentdeck.console.themes import COLOURLESS, DEFAULT, BrokenTheme, Themes, config_folder
from agentdeck.errors import AgentdeckError
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.operations.engine_process import EngineProcess

LOOK = 1.0  # seconds after which theme files and keymap are read again
SETTLED = 0.3  # seconds after the first paint: then the other themes are read, and faults are shown


class DeckApp(App[None]):
    """The console on one store. `open` begins with this workflow selected, `run` with this run on the screen, as
    does `engine`, a process that was started for this console; `reminder` is a line that is shown until its keys
    were used. `engines` are the processes that were started from here, by run."""

    TITLE = "agentdeck"
    CSS = """
    * {
        scrollbar-size: 1 1; scrollbar-color: $line; scrollbar-color-hover: $primary;
        scrollbar-color-active: $primary; scrollbar-background: $background;
        scrollbar-background-hover: $background; scrollbar-background-active: $background;
    }
    CommandPalette > Vertical { width: 84; max-width: 96%; }
    CommandPalette SearchIcon { display: none; }
    CommandPalette #--input { border: round $primary; }
    CommandPalette CommandList { border: round $line; }
    Toast { background: $panel; }
    Input { scrollbar-size: 0 0; }
    DeckApp:nocolor .wide .pane:focus, DeckApp:nocolor .wide .pane:focus-within,
    DeckApp:nocolor .middle .pane:focus, DeckApp:nocolor .middle .pane:focus-within,
    DeckApp:nocolor RowList:focus, DeckApp:nocolor VerticalScroll:focus,
    DeckApp:nocolor LettersScreen Table:focus, DeckApp:nocolor LettersScreen OutlineView:focus {
        border: heavy $primary;
    }
    """
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {PaletteEntries}
    BINDINGS = bindings("everywhere")

    def __init__(
        self,
        db: Path,
        open: Path | None = None,  # noqa: A002
        run: str | None = None,
        *,
        engine: EngineProcess | None = None,
        reminder: str = "",
    ) -> None:
        colourless = "NO_COLOR" in os.environ
        # Without this, Textual turns the terminal's own colours into black on black where there are to be none.
        super().__init__(ansi_color=True if colourless else None)
        self.db = db
        #: The error that closed the console.
        self.failure: Exception | None = None
        self.engines = {engine.run: engine} if engine is not None else {}
        self.reminder = reminder
        self._keys = KeyQueue(self, super().on_event)
        self._unused = {"p", "t", "?"} if reminder else set()
        self._open, self._run = open, engine.run if engine is not None else run
        self._themes = Themes()
        self._keymap_file = config_folder() / "keymap.yaml"
        self._keymap_edited = 0
        self._faults: list[str] = []
        wanted = COLOURLESS if colourless else _chosen()
        self._read_themes(wanted)
        if wanted not in self.available_themes:
            self._faults.append(f"there is no theme {wanted}; using {DEFAULT}")
            wanted = DEFAULT
            self._read_themes(wanted)
        self.theme = wanted if wanted in self.available_themes else "textual-dark"

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"line": "#7f7f7f"}

    def get_default_screen(self) -> Screen[None]:
        from agentdeck.console.screens.deck import DeckScreen

        return DeckScreen(self._open)

    def on_mount(self) -> None:
        asyncio.get_running_loop().set_default_executor(DaemonExecutor())
        self._read_keymap()
        if self._run is not None:
            self.open_run(self._run)
        end_on_hangup()
        gc_tuning.shorten()
        self.set_timer(SETTLED, gc_tuning.set_aside)
        self.set_timer(SETTLED, self._look)
        self.set_interval(LOOK, self._look)

    def on_unmount(self) -> None:
        gc_tuning.restore()

    # Runs ---------------------------------------------------------------------------------------------------

    def open_run(self, run: str) -> None:
        """The run screen, on this run."""
        from agentdeck.console.screens.run import RunScreen

        self.push_screen(RunScreen(self.db, run))

    def start(self, engine: Callable[[], EngineProcess], *, look: bool = True) -> bool:
        """Start an engine, remember it for when the console is closed, and `look` at its run. False where no
        process could be started; a message says why."""
        try:
            made = engine()
        except OSError as error:
            self.notify(f"the process could not be started: {error}", title="not started", severity="error")
            return False
        self.engines[made.run] = made
        if look:
            self.open_run(made.run)
        return True

    def used(self, key: str) -> None:
        """One of the reminder's keys was used. When all were, it goes."""
        self._unused.discard(key)
        if not self._unused:
            self.reminder = ""

    # Actions of everywhere ----------------------------------------------------------------------------------

    def action_help(self) -> None:
        from agentdeck.console.screens.dialogs import Help

        self.used("?")
        self.push_screen(Help(self.screen))

    def action_palette(self) -> None:
        self._read_themes()
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_theme(self) -> None:
        self._read_themes()
        if names := self.theme_names():
            at = names.index(self.theme) + 1 if self.theme in names else 0
            self.use_theme(names[at % len(names)])

    def theme_names(self) -> list[str]:
        """agentdeck's own themes and the operator's, those that could be read."""
        return [name for name in self._themes.files() if name in self.available_themes]

    def use_theme(self, name: str) -> None:
        """This theme from now on, in later sessions too."""
        self.theme = name
        with suppress(OSError):  # a config folder that cannot be written only forgets
            config_folder().mkdir(parents=True, exist_ok=True)
            (config_folder() / "theme").write_text(name + "\n", encoding="utf-8")
        self.notify(name, title="theme", timeout=1.5)

    async def action_quit(self) -> None:
        """Close the console. Where runs that were started here still execute, ask what becomes of them; pressed
        again in that question it closes."""
        from agentdeck.console.screens.dialogs import Confirm

        if all(engine.ended is not None for engine in self.engines.values()) or isinstance(self.screen, Confirm):
            self.exit()
        else:
            self.run_worker(self._quit(), name="quit", group="quit", exclusive=True)

    async def _quit(self) -> None:
        from agentdeck.console.screens.dialogs import ask
        from agentdeck.console.screens.quit_question import QuitQuestion, executing_runs

        runs = await executing_runs(self.db, self.engines.values())
        if not runs:
            self.exit()
            return
        question = QuitQuestion(self.db, self.engines.values(), runs)

        def answered(choice: str) -> None:
            if choice == "keep":
                self.exit()
            else:
                command = partial(self._command_all, question.runs, choice)
                self.run_worker(command, thread=True, name=f"{choice} and quit")

        ask(self, question, answered)

    def _command_all(self, runs: list[str], verb: str) -> None:
        """In a thread: send a command to every run, then close."""
        from agentdeck.engine.author import current_author
        from agentdeck.operations.commands import RunCommand, send

        for run in runs:
            # A run that does not answer is not stopped by staying here either.
            with suppress(AgentdeckError):
                send(self.db, run, RunCommand(verb, {}), current_author("console"))
        self.call_from_thread(self.exit)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            KEYS.pressed()
            await self._keys.add(event)
        else:
            await super().on_event(event)

    @property
    def handles_keys(self) -> bool:
        """Whether keys that were pressed are not handled yet."""
        return self._keys.busy

    async def on_key_handled(self) -> None:
        await self._keys.handled()

    async def take_keys(self) -> None:
        """Handle the keys that were typed while the screen read its rows."""
        await self._keys.pass_on()

    def notify(self, message: str, *, markup: bool = False, **options: Any) -> None:
        """Show a toast. Texts of agents and files are in it: it is never read as markup."""
        super().notify(message, markup=False, **options)

    # Files that are edited while the console is open --------------------------------------------------------

    def _look(self) -> None:
        if not KEYS.waits:
            gc_tuning.collect()
        self._read_themes()
        self._read_keymap()
        faults, self._faults = self._faults, []
        for fault in faults:
            self.notify(clean(fault), severity="warning", timeout=8)

    def _fatal_error(self) -> None:
        """Close after an error of the console itself, which `agentdeck` reports. Textual would print a traceback
        with the values of all variables: keys are among them."""
        self.failure = self._exception
        self._close_messages_no_wait()

    def _read_themes(self, only: str = "") -> None:
        for found in self._themes.changed(only):
            if isinstance(found, BrokenTheme):
                self._faults.append(f"theme not changed: {found}")
                continue
            self.register_theme(found)
            if self.is_running and found.name == self.theme:
                self._watch_theme(found.name)

    def _read_keymap(self) -> None:
        try:
            edited = self._keymap_file.stat().st_mtime_ns
        except OSError:
            edited = 0
        if edited != self._keymap_edited:
            self._keymap_edited = edited
            keys, faults = load_keymap(self._keymap_file)
            self.set_keymap(keys)
            self._faults += faults


def _chosen() -> str:
    """The theme of the environment, else the one that was chosen last."""
    if named := os.environ.get("AGENTDECK_THEME"):
        return named
    try:
        return (config_folder() / "theme").read_text(encoding="utf-8").strip() or DEFAULT
    except (OSError, ValueError):
        return DEFAULT
