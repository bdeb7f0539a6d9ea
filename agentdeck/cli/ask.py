"""Asking the process that holds a run, from the command line."""

from __future__ import annotations

import os

from agentdeck.cli.errors import DONE, FAILED, say
from agentdeck.workflow.model import Data


def ask(db: str | None, run: str, verb: str, args: dict[str, Data], as_json: bool = False) -> int:
    """Ask, wait for the answer, tell it."""
    from agentdeck.cli.pages import dump, out
    from agentdeck.cli.settings import database
    from agentdeck.store.asking import ask as put

    who = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    answer = put(database(db), run, verb, args, who)
    if as_json:
        dump({"run": answer.run, "ok": answer.ok, "answer": answer.text})
        return DONE if answer.ok else FAILED
    if answer.ok:
        out(f"{answer.run}: {answer.text}")
        return DONE
    told = answer.text if answer.text.startswith(answer.run) else f"{answer.run}: {answer.text}"
    say(told)
    return FAILED
