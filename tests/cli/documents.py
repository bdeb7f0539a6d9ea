"""Checks what a command printed against the models of its documents."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agentdeck.documents.registry import model

#: The document that each verb prints with `--json`, one or more, each on a line of its own.
PRINTED = {
    "questions": "questions",
    "run": "summary", "resume": "summary", "retry": "summary", "fork": "summary", "show": "summary",
    "runs": "runs", "events": "event", "watch": "event", "logs": "log", "letters": "letters", "limits": "limits",
    "budget": "budget", "why": "why", "step": "step", "plan": "plan", "check": "check", "diff": "diff",
    "config": "config", "info": "info", "plugins": "plugins", "prune": "pruned", "results": "result",
    "otel": "spans-sent", "places": "places",
}  # fmt: skip
LETTERS = {"show": "letter", "export": "letter", "retry": "summary"}
NO_FLAG = (["letters", "export"], ["results"])  # these print JSON without --json


def check_documents(args: Sequence[str], stdout: str) -> None:
    """Raises where a line is not a document of the verb. Output without `--json` is not looked at."""
    prints_json = "--json" in args or any(list(args[: len(verb)]) == verb for verb in NO_FLAG)
    if not prints_json or "--help" in args:
        return
    name = PRINTED[args[0]]
    if args[0] == "letters" and len(args) > 1:
        name = LETTERS.get(args[1], name)
    if args[0] == "prune" and "--dry-run" in args:
        name = "prune-preview"
    for line in stdout.splitlines():
        if line.strip():
            answered = name in ("limits", "summary") and '"answer"' in line and "answer" in json.loads(line)
            model("answer" if answered else name).model_validate_json(line)
