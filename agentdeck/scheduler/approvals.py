"""Decisions on approvals: completing an answer before it is recorded, and describing it afterwards."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.errors import UsageError
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Approve, Data
from agentdeck.workflow.wording import fits

PERSON, TIMEOUT, YES, UNKNOWN = "person", "timeout", "yes", "unknown"


#: How many decisions a view holds as a whole. All are counted, and the log has all.
REMEMBERED = 100


class Completed(NamedTuple):
    """The fields of an answer with defaults filled in, and the names of those that took their default."""

    fields: dict[str, Data]
    defaults: tuple[str, ...]


def complete(does: Approve, given: Mapping[str, Data]) -> Completed:
    """The given fields, with the defaults of the others. A field without a value is absent."""
    values = {**does.defaults, **given}
    fields = {name: values[name] for name in does.fields if name in values}
    return Completed({**given, **fields}, tuple(name for name in does.defaults if name not in given))


def required(does: Approve) -> list[str]:
    """The fields without a default, which every answer has to give."""
    return [name for name in does.fields if name not in does.defaults]


def refusal(step: str, does: Approve, given: Mapping[str, Data]) -> str:
    """Why an answer is invalid, empty where it is valid."""
    lacking = [name for name in required(does) if name not in given]
    if lacking:
        named = " ".join(f"--field {name}=…" for name in lacking)
        return f"{step} needs a value for {', '.join(lacking)}: answer again with {named}"
    unknown = [name for name in given if name not in does.fields]
    if unknown and does.fields:
        return f"{step} has no field {', '.join(unknown)}; it has {', '.join(does.fields)}"
    for name, kind in does.fields.items():
        if name in given and (wrong := fits(given[name], kind)):
            return f"{name} of {step} is {wrong}"
    return ""


def decision(step: str, approved: Data) -> bool:
    """Whether a step is approved. Raises UsageError for what is neither True nor False, such as "false"."""
    if not isinstance(approved, bool):
        raise UsageError(f"{step}: approved must be true or false, not {approved!r}")
    return approved


def command(run: str, task: str, step: str, does: Approve | None) -> str:
    """The command line that answers a step, with the fields that every answer has to give."""
    fields = "".join(f" --field {name}=…" for name in (required(does) if does is not None else ()))
    return f"agentdeck approve {run} {shlex.quote(step)} yes|no --task {shlex.quote(task)}{fields}"


def how_of(event: ev.StepAnswered) -> str:
    """How an approval was decided: `person`, `timeout`, `yes` or `unknown`. Version 0.1 recorded a name or
    `--yes` in `who`; where that is empty, it was a timeout or an operator without USER in the environment:
    unknown."""
    if event.how:
        return event.how
    if event.who == "--yes":
        return YES
    return PERSON if event.who else UNKNOWN


def describe(event: ev.StepAnswered) -> str:
    """A decision as text: `approved by ada@mica (cli)`, `rejected by timeout`, of a question `answered by …`."""
    word = "answered" if event.question else "approved" if event.approved else "rejected"
    match how_of(event):
        case "timeout":
            text = f"{word} by timeout: no answer in time"
        case "yes":
            text = f"{word} by --yes" + (f" of {event.who}" if event.who not in ("", "--yes") else "")
        case "unknown":
            text = f"{word} by an unknown author"
        case _:
            text = f"{word} by {event.who}"
    return text + (f"; used the default of {', '.join(event.defaults)}" if event.defaults else "")


def output_of(event: ev.StepAnswered) -> dict[str, Data]:
    """The result of the step. `approved` is the decision, also where a field has that name."""
    return {"approved": event.approved, **event.fields} | {"approved": event.approved}


def record(event: ev.StepAnswered) -> dict[str, Data]:
    """A decision as JSON. What a log of version 0.1 does not contain is null."""
    author = event.author
    return {
        "task": event.task,
        "step": event.step,
        "at": event.at,
        "decision": "approved" if event.approved else "rejected",
        "how": how_of(event),
        "who": None if event.who in ("", "--yes") else event.who,
        "by": author.by or None if author else None,
        "user": author.user if author else None,
        "host": author.host if author else None,
        "tool": author.tool if author else None,
        "fields": event.fields,
        "defaults": list(event.defaults),
    }


class Approvals:
    """The decisions of a run: the number by way, and the newest ones as a whole."""

    __slots__ = ("approved", "latest", "ways")

    def __init__(self) -> None:
        self.approved = 0
        self.ways = dict.fromkeys((PERSON, TIMEOUT, YES, UNKNOWN), 0)
        self.latest: deque[ev.StepAnswered] = deque(maxlen=REMEMBERED)

    def add(self, event: ev.StepAnswered) -> None:
        self.approved += event.approved
        way = how_of(event)
        self.ways[way] = self.ways.get(way, 0) + 1
        self.latest.append(event)

    @property
    def total(self) -> int:
        return sum(self.ways.values())

    def summary(self) -> dict[str, Data]:
        """The counts by decision and by way, and the newest decisions, as JSON."""
        return {
            "approved": self.approved,
            "rejected": self.total - self.approved,
            "how": {way: count for way, count in self.ways.items() if count},
            "latest": [record(event) for event in self.latest],
        }
