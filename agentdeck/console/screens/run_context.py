"""What the actions on one run have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from textual.screen import ModalScreen, Screen

from agentdeck.console.run_records import RunRecords
from agentdeck.console.run_state import RunState
from agentdeck.console.screens.dialogs import ask
from agentdeck.console.screens.pane_layout import PaneLayout
from agentdeck.errors import AgentdeckError
from agentdeck.operations.commands import RunCommand
from agentdeck.store.command_client import CommandAnswer

T = TypeVar("T")


class SendCommand(Protocol):
    """Sends a command to the process that executes the run. Returns at once; the answer is shown as a toast, and
    `then` is called with it."""

    def __call__(self, command: RunCommand, then: Callable[[CommandAnswer], None] | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class RunContext:
    """`screen` shows the questions of the actions, `panes` say what they act on, `records` read the store, `send`
    sends what the run's owner carries out."""

    screen: Screen[None]
    state: RunState
    panes: PaneLayout
    records: RunRecords
    send: SendCommand

    def warn(self, text: str) -> None:
        self.screen.notify(text, severity="warning")

    def ask(self, dialog: ModalScreen[T], then: Callable[[T], object]) -> None:
        """Show a dialog, and call `then` with its answer, if there is one."""
        ask(self.screen, dialog, then)

    def read(self, query: Awaitable[T], then: Callable[[T], object], name: str) -> None:
        """Call `then` with what was read. A read replaces one of the same name; a fault of the store is shown."""

        async def work() -> None:
            try:
                found = await query
            except AgentdeckError as error:
                self.screen.notify(str(error), severity="error")
            else:
                then(found)

        self.screen.app.run_worker(work(), name=name, group=name, exclusive=True)
