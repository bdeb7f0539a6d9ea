"""Asking the process that holds a run, from the command line."""

from __future__ import annotations

from agentdeck.cli.error_output import DONE, FAILED, say
from agentdeck.workflow.model import Data


def ask(
    db: str | None, run: str, verb: str, args: dict[str, Data], as_json: bool = False, by: str | None = None
) -> int:
    """Ask, wait for the answer, print it. `by` is the name given with --by, recorded beside the account."""
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.operations.author import author
    from agentdeck.operations.settings import database
    from agentdeck.store.command_client import ask as put

    answer = put(database(db), run, verb, args, author(by or ""))
    if as_json:
        dump({"run": answer.run, "ok": answer.ok, "answer": answer.text})
        return DONE if answer.ok else FAILED
    if answer.ok:
        out(f"{answer.run}: {answer.text}")
        return DONE
    told = answer.text if answer.text.startswith(answer.run) else f"{answer.run}: {answer.text}"
    say(told)
    return FAILED
