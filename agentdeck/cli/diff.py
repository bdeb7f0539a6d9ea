"""`diff`: compare two runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, json_option
from agentdeck.cli.text_tables import cut, out, print_document, table
from agentdeck.insight.formatting import seconds
from agentdeck.operations.recorded_run import open_store
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.documents.command import Diff
    from agentdeck.insight.diff import RunTrace
    from agentdeck.store.reader import Reader
    from agentdeck.workflow.model import Data


@click.command()
@click.argument("one", metavar="RUN", shell_complete=complete.runs)
@click.argument("other", metavar="RUN", shell_complete=complete.runs)
@db_option
@json_option("Print all differences as one JSON object.")
def diff(one: str, other: str, db: str | None, as_json: bool) -> None:
    """Show the differences between two runs: definitions, durations, attempts, waiting, outputs, and the first
    step that ended differently. Tasks are matched by their inputs.

    \b
    Example:
      agentdeck diff cay7sh cay7sn
    """
    from agentdeck.insight.diff import diff as compare

    with open_store(db) as reader:
        traces = (_trace(reader, one), _trace(reader, other))
        document = compare(*traces, lambda run, task, step: _result(reader, run, task, step))
    if as_json:
        print_document(document)
    else:
        for line in page(document):
            out(line)


def _trace(reader: Reader, run: str) -> RunTrace:
    from agentdeck.insight.diff import RunTrace
    from agentdeck.workflow.model import restored

    row = reader.run(run)
    trace = RunTrace(restored(reader.definition(row.identity)))
    for seq, event in reader.events(row.run):
        trace.apply(seq, event)
    trace.view.state = row.state  # the log does not record that the process died
    return trace


def _result(reader: Reader, run: str, task: str, step: str) -> Data:
    """The output of a step, or its error; of the task itself if `step` is empty."""
    from agentdeck.insight.diff import recorded_result

    inner, _, name = step.rpartition("/")
    task = f"{task}/{inner}" if inner else task
    return recorded_result(reader.task_events(run, task), task, name)


def page(document: Diff) -> Iterator[str]:
    one, other = document.runs
    names = document.workflows
    yield clean(f"{one} and {other}: {names[0]}" + (f" and {names[1]}" if names[0] != names[1] else ""))
    yield from _facts(document)
    yield ""
    rows = []
    for name, agent in document.agents.items():
        for label, values, show in (
            ("p50", agent.p50, seconds),
            ("p95", agent.p95, seconds),
            ("attempts", agent.attempts, _plain),
            ("failed", agent.failed, _plain),
            *((f"waited: {reason}", both, seconds) for reason, both in agent.waiting.items()),
            ("tokens in", agent.tokens_in, _plain),
            ("tokens out", agent.tokens_out, _plain),
            ("usd", agent.usd, _plain),
        ):
            left, right = show(values[0]), show(values[1])
            if left != right:
                rows.append((name, label, left, right, _times(values)))
                name = ""
    if rows:
        yield from table(("agent", "", one, other, ""), rows, right=(2, 3, 4))
    else:
        yield "agents     no difference in duration, attempts, waiting and cost"
    yield ""
    tasks = document.tasks
    line = f"tasks      {tasks.same:,} with the same output, {tasks.parted:,} with a different one"
    for run, number in zip(document.runs, tasks.only, strict=True):
        line += f", {number:,} only in {run}" if number else ""
    yield line
    for divergence in tasks.first:
        task = " / ".join(dict.fromkeys(divergence.tasks))
        yield ""
        first = f"first at {divergence.step}" if divergence.step else "in its output"
        yield clean(f"task {task} differs {first}" + ("" if divergence.same_inputs else "; its inputs differ"))
        states = divergence.step_states if divergence.step else divergence.states
        for run, state, output in zip(document.runs, states, divergence.outputs, strict=True):
            yield cut(clean(f"  {run}  {state or 'did not run':<9} {_short(output)}"))


def _facts(document: Diff) -> Iterator[str]:
    yield "state      " + " | ".join(dict.fromkeys(document.state))
    yield f"took       {seconds(document.seconds[0])} | {seconds(document.seconds[1])}"
    definition = document.definition
    if definition.same:
        yield "definition the same"
    for word in ("added", "removed"):
        if getattr(definition, word):
            yield clean(f"{word:<10} {', '.join(getattr(definition, word))}")
    changes = [*definition.changed.items(), ("", definition.workflow)]
    for agent, values in changes:
        for name, both in values.items():
            place = ".".join(part for part in (agent, name) if part)
            yield clean(f"changed    {place}: {_short(both[0])} → {_short(both[1])}")
    for word in ("inputs", "limits"):
        for name, both in getattr(document, word).items():
            yield clean(f"{word:<10} {name}: {_short(both[0])} → {_short(both[1])}")


def _times(values: list[Data]) -> str:
    """The second value divided by the first, as `× 1.50`."""
    one, other = values
    if not isinstance(one, int | float) or not isinstance(other, int | float) or one <= 0:
        return ""
    return f"× {other / one:.2f}"


def _plain(value: Data) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _short(value: Data) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"
