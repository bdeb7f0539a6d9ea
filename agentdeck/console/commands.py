"""Commands from the console to the owner of a run: sent in a thread, answered with a toast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from textual.app import App

from agentdeck.engine.author import current_author
from agentdeck.errors import AgentdeckError
from agentdeck.store.command_client import Answer, ask
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data


def send_command(
    app: App[None],
    db: Path,
    run: str,
    verb: str,
    args: Mapping[str, Data] | None = None,
    then: Callable[[Answer], None] | None = None,
) -> None:
    """Send a command to the owner of a run. Returns at once; the answer comes as a toast and, on the app's
    thread, to `then`."""
    app.run_worker(partial(_send, app, db, run, verb, dict(args or {}), then), name=f"{verb} {run}", thread=True)


def _send(
    app: App[None],
    db: Path,
    run: str,
    verb: str,
    args: dict[str, Data],
    then: Callable[[Answer], None] | None,
) -> None:
    try:
        answer = ask(db, run, verb, args, current_author("console"))
    except AgentdeckError as error:
        answer = Answer(run, False, str(error))
    app.call_from_thread(_show_answer, app, verb, answer, then)


def _show_answer(app: App[None], verb: str, answer: Answer, then: Callable[[Answer], None] | None) -> None:
    text = clean(answer.text) + (f"  ·  #{answer.seq}" if answer.seq else "")
    app.notify(
        text,
        title="" if answer.ok else f"{verb}: not done",
        severity="information" if answer.ok else "error",
        markup=False,
        timeout=4 if answer.ok else 8,
    )
    if then is not None:
        then(answer)
