"""`show`: one run on a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import db_option, json_option

if TYPE_CHECKING:
    from agentdeck.core.view import View
    from agentdeck.store.reader import RunRow
    from agentdeck.workflow.model import Data

MOMENTS = 15


@click.command()
@click.argument("run", metavar="RUN")
@db_option
@json_option("The summary as one JSON object.")
def show(run: str, db: str | None, as_json: bool) -> None:
    """Show one run: counts, agents, waiting, timeline. RUN is an id, the beginning of one, or `last`."""
    from agentdeck.cli.options import store
    from agentdeck.cli.pages import dump, out
    from agentdeck.core.view import View
    from agentdeck.insight.summary import summary
    from agentdeck.workflow.model import restored

    with store(db) as reader:
        row = reader.run(run)
        definition = restored(reader.definition(row.identity))
        view = View(definition)
        for seq, event in reader.events(row.run):
            view.apply(seq, event)
    told = summary(view, definition)
    told["state"] = row.state  # the log does not know that its owner died
    if as_json:
        dump(told)
    else:
        for line in page(row, view, told):
            out(line)


def page(row: RunRow, view: View, told: dict[str, Data]) -> Iterator[str]:
    import json

    from agentdeck.cli.pages import cut, table
    from agentdeck.core.clean import clean
    from agentdeck.insight.numbers import clock, moment, seconds

    word = " · simulated" if told["simulated"] else ""
    yield clean(f"{row.run}  {row.workflow}  {row.state}{word}")
    yield f"started    {moment(row.started)}, {seconds(told['seconds'])}"
    if row.state in ("running", "paused"):
        yield clean(f"held by    process {row.pid} on {row.host}")
    if file := row.source.get("file"):
        yield clean(f"file       {file}")
    tasks = told["tasks"]
    yield "tasks      " + ", ".join(
        f"{tasks[name]:,} {name}" for name in ("total", "done", "failed", "cancelled")
    )
    states = ", ".join(f"{n:,} {state}" for state, n in told["steps"].items() if n)
    yield f"steps      {states or 'none'}; {told['attempts']:,} attempts, {told['letters']:,} letters"
    speedup = f", {told['speedup']:.2f} × sequential" if told["speedup"] else ""
    yield f"at best    {seconds(told['lower_bound_seconds'])}{speedup}"
    if told["critical_path"]:
        yield clean(f"critical   {' → '.join(told['critical_path'])}")
    if told["usd"] is not None:
        yield f"cost       ${told['usd']:.4f}"
    yield ""
    rows = [
        (
            name,
            f"{agent['done']:,}",
            f"{agent['failed']:,}",
            f"{agent['attempts']:,}",
            seconds(agent["p50"]),
            seconds(agent["p95"]),
            ", ".join(f"{reason} {seconds(value)}" for reason, value in agent["waiting"].items() if value) or "-",
        )
        for name, agent in told["agents"].items()
    ]
    head = ("agent", "done", "failed", "tries", "p50", "p95", "waited for")
    yield from table(head, rows, right=(1, 2, 3, 4, 5))
    moments = list(view.timeline)[-MOMENTS:]
    if moments:
        yield ""
        if len(view.timeline) > MOMENTS:
            yield f"the last {MOMENTS} of what happened; all of it: agentdeck events {row.run}"
        for one in moments:
            place = "/".join(part for part in (one.task, one.step) if part)
            yield cut(clean(f"{clock(one.at)}  {one.kind:<9} {place:<20} {one.text}"))
    if told["output"] is not None:
        yield ""
        yield "output"
        yield clean(json.dumps(told["output"], indent=2, ensure_ascii=False), lines=True)
