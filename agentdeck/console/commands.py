"""Commands from the console to the owner of a run: sent in a thread, answered with a toast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.app import App

from agentdeck.engine.author import current_author
from agentdeck.errors import AgentdeckError
from agentdeck.operations.commands import RunCommand, send
from agentdeck.store.command_client import CommandAnswer
from agentdeck.terminal_text import clean


def send_command(
    app: App[None], db: Path, run: str, command: RunCommand, then: Callable[[CommandAnswer], None] | None = None
) -> None:
    """Send a command to the owner of a run. Returns at once; the answer comes as a toast and, on the app's
    thread, to `then`."""

    def work() -> None:
        try:
            answer = send(db, run, command, current_author("console"))
        except AgentdeckError as error:
            answer = CommandAnswer(run, False, str(error))
        app.call_from_thread(show, answer)

    def show(answer: CommandAnswer) -> None:
        text = clean(answer.text) + (f"  ·  #{answer.seq}" if answer.seq else "")
        if answer.ok:
            app.notify(text, timeout=4)
        else:
            app.notify(text, title=f"{command.verb}: not done", severity="error", timeout=8)
        if then is not None:
            then(answer)

    app.run_worker(work, name=f"{command.verb} {run}", thread=True)
