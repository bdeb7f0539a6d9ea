"""Writes logs into a store, as runs do, without executing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.store.lease import LOCAL_OWNERS
from agentdeck.store.log import LogRow
from agentdeck.store.runs import Counts, NewRun, Owner, create_run, end_run, save_definition, take_lease
from agentdeck.store.writer import Writer
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Definition

RUN = "r1"
T = 1_789_000_000.0


def workflow(folder: Path, text: str, name: str = "w.yaml") -> Definition:
    """The workflow of this text, with `agentdeck: 1` before it."""
    file = folder / name
    file.write_text("agentdeck: 1\n" + text, encoding="utf-8")
    return load(file).definition


def started(definition: Definition, tasks: int | None = 1, run: str = RUN) -> ev.RunStarted:
    return ev.RunStarted(T, run, definition.name, definition.identity, {}, {"workers": 4}, tasks=tasks)


def record(
    db: Path,
    definition: Definition,
    events: Sequence[Any],
    lines: Sequence[LogRow] = (),
    *,
    run: str = RUN,
    nested: Mapping[str, Definition] | None = None,
    state: str = "done",
) -> None:
    """A new run in the store with these events. It has ended in this state, or `interrupted`."""
    below = nested or {}
    options: dict[str, Any] = {"nested": {path: one.identity for path, one in below.items()}} if below else {}
    source: dict[str, Any] = {"folder": str(definition.folder)}
    new = NewRun(run, definition.name, definition.identity, T, source=source, options=options)
    with closing(Writer(db)) as writer:
        for one in (definition, *below.values()):
            writer.call(partial(save_definition, definition=one))
        writer.call(partial(create_run, new=new))
        writer.append(run, 1, events)
        writer.log(run, lines)
        if state != "interrupted":
            writer.call(partial(end_run, run=run, state=state, ended=events[-1].at, counts=Counts(1, 1)))
        writer.flush()


def append(db: Path, events: Sequence[Any], after: int, *, run: str = RUN) -> None:
    """More events of a run, after event number `after`."""
    with closing(Writer(db)) as writer:
        writer.append(run, after + 1, events)
        writer.flush()


def hold(db: Path, *, held: bool = True) -> None:
    """A process that lives has the run, or has it no more."""
    owner = Owner.here("test")
    LOCAL_OWNERS.add(owner.name)
    with closing(Writer(db)) as writer:
        if held:
            assert writer.call(lambda connection: take_lease(connection, RUN, owner, T * 2, T)).result()
        else:
            sql = "UPDATE runs SET owner = NULL, lease_until = NULL"
            writer.call(lambda connection: connection.execute(sql)).result()
