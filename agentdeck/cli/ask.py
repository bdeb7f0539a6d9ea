"""Asking the process that holds a run: a row in the store, and its answer."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from agentdeck.cli.errors import DONE, FAILED, say
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.store.reader import RunRow

PATIENCE = 3.0


def ask(db: str | None, run: str, verb: str, args: dict[str, Data]) -> int:
    """Ask, wait for the answer, tell it. A run that nobody holds is told of at once."""
    from agentdeck.cli.pages import out
    from agentdeck.cli.settings import database
    from agentdeck.core.clean import clean
    from agentdeck.errors import StoreError
    from agentdeck.store.commands import put_command
    from agentdeck.store.reader import Reader
    from agentdeck.store.writer import Writer

    path = database(db)
    reader = Reader(path)
    try:
        row = reader.run(run)
        if row.state not in ("running", "paused"):
            say(_nobody(row))
            return FAILED
        who, at = os.environ.get("USER") or os.environ.get("LOGNAME") or "", time.time()
        writer = Writer(path)
        try:
            number = writer.call(lambda db: put_command(db, row.run, verb, args, who, at)).result(PATIENCE)
        except TimeoutError:
            raise writer.fault or StoreError(f"{path}: not written after {PATIENCE:g} s") from None
        finally:
            writer.close()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            request = reader.command(number)
            if request is not None and request.answer is not None:
                answer = request.answer
                good = bool(answer.get("ok"))
                text = _told(answer.get("answer"))
                if good:
                    out(clean(f"{row.run}: {text}"))
                else:
                    say(f"{row.run}: {text}")
                return DONE if good else FAILED
            time.sleep(0.02)
        row = reader.run(row.run)
        if row.state not in ("running", "paused"):
            say(_nobody(row))
        else:
            say(f"{row.run}: process {row.pid} on {row.host} has not answered in {PATIENCE:g} s; it may still")
        return FAILED
    finally:
        reader.close()


def _nobody(row: RunRow) -> str:
    if row.state == "interrupted":
        return f"{row.run} is interrupted: nobody runs it; go on with: agentdeck resume {row.run}"
    return f"{row.run} is over ({row.state})"


def _told(answer: Data) -> str:
    if isinstance(answer, dict):
        return ", ".join(f"{name} = {value}" for name, value in answer.items())
    return str(answer)
