"""The base of every screen, and what screens use of the app. The app imports its screens, so they know it by an
interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from textual import events
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.widgets import Static

from agentdeck.console.actions import bindings
from agentdeck.errors import AgentdeckError
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agentdeck.operations.commands import RunCommand
    from agentdeck.operations.engine_process import EngineProcess
    from agentdeck.store.command_client import CommandAnswer

LEAST = (60, 16)
PATIENCE = 1.0  # seconds for which keys wait for rows: a store may hang


class ConsoleApp(Protocol):
    """`db` is the store. `engines` are the processes that this console has started, by run. `reminder` is a line
    of keys that is shown until they were used."""

    db: Path
    engines: dict[str, EngineProcess]
    reminder: str

    def open_run(self, run: str) -> None:
        """Show the run screen of this run."""

    def start(self, engine: Callable[[], EngineProcess], *, look: bool = True) -> bool:
        """Start an engine process and `look` at its run. False, after a notification, where it does not start."""

    def used(self, key: str) -> None:
        """Note that a key of the reminder was used."""

    def theme_names(self) -> list[str]:
        """The themes that can be chosen."""

    def use_theme(self, name: str) -> None:
        """Choose a theme, for later sessions too."""

    async def take_keys(self) -> None:
        """Handle the keys that were typed while the screen read its rows."""


class ScrollPage(VerticalScroll, inherit_bindings=False):
    """A vertical scroll whose keys are actions of the registry."""

    BINDINGS = bindings("page")


class SizedScreen(Screen[None]):
    """A screen of the console. It has one of the classes `narrow` (one pane at a time), `middle` and `wide`, and
    the class `small` below 60x16, where it shows nothing but a notice."""

    DEFAULT_CSS = """
    SizedScreen { layers: base notice; }
    SizedScreen > #too-small { display: none; layer: notice; }
    SizedScreen.small > * { display: none; }
    SizedScreen.small > #too-small {
        display: block; width: 100%; height: 100%; content-align: center middle; text-align: center;
    }
    """

    _awaited: Timer | None = None

    def on_mount(self) -> None:
        self.mount(Static(id="too-small", markup=False))

    def await_rows(self) -> None:
        """Let keys wait until `rows_are_read`, but not for longer than PATIENCE."""
        self._awaited = self.set_timer(PATIENCE, self.rows_are_read)

    def rows_are_read(self) -> None:
        """Handle the keys that were typed meanwhile, in order, and those to come at once."""
        if self._awaited is not None:
            self._awaited.stop()
            self._awaited = None
            self.app.call_later(self.console_app.take_keys)

    @property
    def reads_rows(self) -> bool:
        """Whether the rows that keys act on are being read."""
        return self._awaited is not None

    @property
    def is_seen(self) -> bool:
        """Whether no screen but dialogs covers this one. (Textual's `is_current` also holds for screens below one
        whose background is not opaque.)"""
        stack = self.app.screen_stack
        return self in stack and all(isinstance(above, ModalScreen) for above in stack[stack.index(self) + 1 :])

    def poll(self, interval: float, read: Callable[[], object]) -> None:
        """Call `read` so often, in seconds, while no other screen covers this one."""
        self.set_interval(interval, lambda: read() if self.is_active else None)

    @property
    def console_app(self) -> ConsoleApp:
        """The app, by the interface that screens use."""
        return cast("ConsoleApp", self.app)

    def send_command(
        self,
        run: str,
        command: RunCommand,
        then: Callable[[CommandAnswer], None] | None = None,
        *,
        run_over: Callable[[], None] | None = None,
    ) -> None:
        """Send a command to the owner of a run. Returns at once; the answer comes as a toast, and to `then`.
        Where no process executes the run any more, `run_over` is called instead, if it is given."""

        def work() -> None:
            from agentdeck.engine.author import current_author
            from agentdeck.operations.commands import send
            from agentdeck.store.command_client import CommandAnswer

            try:
                answer = send(self.console_app.db, run, command, current_author("console"))
            except AgentdeckError as error:
                answer = CommandAnswer(run, False, str(error))
            self.app.call_from_thread(show, answer)

        def show(answer: CommandAnswer) -> None:
            if answer.run_over and run_over is not None:
                run_over()
                return
            text = clean(answer.text) + (f"  ·  #{answer.seq}" if answer.seq else "")
            if answer.ok:
                self.app.notify(text, timeout=4)
            else:
                self.app.notify(text, title=f"{command.verb} failed", severity="error", timeout=8)
            if then is not None:
                then(answer)

        self.app.run_worker(work, name=f"{command.verb} {run}", thread=True)

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        small = width < LEAST[0] or height < LEAST[1]
        wide = width >= 132 and height >= 34
        middle = not wide and width >= 96 and height >= 26
        for name, on in (("small", small), ("wide", wide), ("middle", middle), ("narrow", not (wide or middle))):
            self.set_class(on, name)
        if small:
            text = f"{width}x{height} is too small for agentdeck\nat least {LEAST[0]}x{LEAST[1]}; ctrl+q quits"
            self.query_one("#too-small", Static).update(text)
