"""`show`: print one run on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from agentdeck.cli.options import db_option, json_option, run_argument, with_db
from agentdeck.cli.text_tables import cut, out, print_document, table
from agentdeck.insight.formatting import clock, dollars, moment, seconds
from agentdeck.operations.recorded_run import LIVE, load_run, open_store
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.documents.run import Summary
    from agentdeck.store.run_list import RunRow
    from agentdeck.views.run_timeline import TimelineEntry
    from agentdeck.views.run_view import RunView

MOMENTS = 15
RUNNING = 8
INSIDE = 40
WAYS = {"person": "an operator", "timeout": "timeout", "yes": "--yes", "unknown": "an unknown author"}


@click.command()
@run_argument
@click.option("--timeline", type=click.IntRange(0, 1000), metavar="N",
              help=f"Number of last timeline entries (default {MOMENTS}; with --json none).")  # fmt: skip
@db_option
@json_option("Print the summary as one JSON object, as `run --json` does.")
def show(run: str, timeline: int | None, db: str | None, as_json: bool) -> None:
    """Show one run, executing or ended: counts, agents, what they waited for, timeline. RUN is an id, the
    beginning of one, or `last`.

    \b
    Examples:
      agentdeck show last
      agentdeck show last --timeline 100
      agentdeck show last --json
    """
    import time

    from agentdeck.documents.run import Moment
    from agentdeck.insight.summary import summary

    with open_store(db) as reader:
        row, definition, view = load_run(reader, run)
    if row.state in ("running", "paused"):
        view.now = max(view.now, time.time())
    document = summary(view, definition)
    changes: dict[str, Any] = {"state": row.state}  # the log does not record that the process died
    most = timeline if timeline is not None else 0 if as_json else MOMENTS
    moments = list(view.timeline)[-most:] if most else []
    if timeline:
        changes["timeline"] = [Moment.of(one) for one in moments]
    document = document.model_copy(update=changes)
    if as_json:
        print_document(document)
    else:
        for line in page(row, view, document, moments):
            out(line)


def page(row: RunRow, view: RunView, document: Summary, moments: Sequence[TimelineEntry]) -> Iterator[str]:
    import json

    yield from _facts(row, view, document)
    yield ""
    yield from _agents(document)
    inside = list(_inside(document))
    if inside:
        yield ""
        yield from inside
    elsewhere = list(_place_workers(document))
    if elsewhere:
        yield ""
        yield from elsewhere
    costs = list(_costs(document))
    if costs:
        yield ""
        yield from costs
    waited = list(_waited(document))
    if waited:
        yield ""
        yield from waited
    if moments:
        yield ""
        if len(view.timeline) > len(moments):
            yield f"the last {len(moments)} timeline entries; more: --timeline 1000, agentdeck events {row.run}"
        wide = max(len(_place(one)) for one in moments)
        for one in moments:
            yield cut(clean(f"{clock(one.at)}  {one.kind:<8} {_place(one):<{wide}}  {one.text}"))
    if document.output is not None:
        yield ""
        yield "output"
        yield clean(json.dumps(document.output, indent=2, ensure_ascii=False), lines=True)


def _facts(row: RunRow, view: RunView, document: Summary) -> Iterator[str]:
    """Lines on the run: its state and source, its counts, what runs now, its bounds and its cost."""
    yield from _identity(row, view, document)
    yield from _counts(view, document)
    if row.state in LIVE:
        yield from _activity(view)
    yield from _bounds(view, document)


def _identity(row: RunRow, view: RunView, document: Summary) -> Iterator[str]:
    from agentdeck.insight.summary import simulation

    mark = f" · {simulated}" if (simulated := simulation(view)) else ""
    yield clean(f"{row.run}  {row.workflow}  {row.state}{mark}")
    idle = f", and {seconds(view.idle)} in which no process ran it" if view.idle >= 1 else ""
    yield f"started    {moment(row.started)}, {seconds(document.seconds)}{idle}"
    if row.state in LIVE:
        yield clean(f"owner      process {row.pid} on {row.host}")
    if row.state == "paused":
        why = view.timeline.last("paused")
        yield clean(f"paused     {why}")
    if row.state == "interrupted":
        yield with_db(f"resume     agentdeck resume {row.run}")
    if file := row.source.get("file"):
        yield clean(f"file       {file}")
    if row.tags:
        yield clean(f"tags       {', '.join(row.tags)}")


def _counts(view: RunView, document: Summary) -> Iterator[str]:
    from agentdeck.insight.summary import task_counts

    yield f"tasks      {task_counts(view.tasks)}"
    states = ", ".join(f"{n:,} {state}" for state, n in document.steps.items() if n)
    yield f"steps      {states or 'none'}; {document.attempts:,} attempts, {document.letters:,} dead letters"
    approvals = document.approvals
    if approvals.how:
        ways = ", ".join(f"{count:,} by {WAYS.get(way, way)}" for way, count in approvals.how.items())
        yield f"approvals  {approvals.approved:,} approved, {approvals.rejected:,} rejected; {ways}"


def _activity(view: RunView) -> Iterator[str]:
    """The steps that have run longest, and why ready steps wait."""
    from agentdeck.cli.limits import held_up

    if view.running:
        oldest = sorted(view.running.values(), key=lambda started: started.at)[:RUNNING]
        names = ", ".join(f"{one.task}/{one.step} {seconds(view.now - one.at)}" for one in oldest)
        more = len(view.running) - len(oldest)
        yield cut(clean(f"running    {names}" + (f" and {more:,} more" if more else "")))
    yield from held_up(view)


def _bounds(view: RunView, document: Summary) -> Iterator[str]:
    """The shortest possible duration, the critical path, and the cost."""
    from agentdeck.insight.summary import unknown_cost

    speedup = f", {document.speedup:.2f} × sequential" if document.speedup else ""
    yield f"at best    {seconds(document.lower_bound_seconds)}{speedup}"
    if document.critical_path:
        yield clean(f"critical   {' → '.join(document.critical_path)}")
    agents = document.agents.items()
    if document.usd is not None:
        saved = document.saved and f"; ${document.usd_all_reasoning:.4f} if all were on the reasoning tier"
        guessed = sum(agent.estimated for _, agent in agents)
        part = f"; estimated for {guessed:,} interrupted attempts" if guessed else ""
        yield f"cost       ${document.usd:.4f}{saved or ''}{part}"
    elif reason := unknown_cost(view):
        yield f"cost       unknown: {reason}"
    cheaper = [f"{name} {_made_cheaper(agent.eased)}" for name, agent in agents if agent.eased]
    if cheaper:
        yield clean(f"budget     reduced by its ladder: {'; '.join(cheaper)}")


def _made_cheaper(attempts: dict[str, int]) -> str:
    """How often a budget made attempts cheaper, by rung: `5 reduced, 3 downgraded`."""
    words = {"reduce": "reduced", "downgrade": "downgraded", "routing": "on the routing tier", "drop": "dropped"}
    return ", ".join(f"{many:,} {words.get(rung, rung)}" for rung, many in attempts.items())


def _agents(document: Summary) -> list[str]:
    rows = [
        (
            name,
            f"{agent.steps:,}",
            f"{agent.done:,}",
            f"{agent.failed:,}",
            f"{agent.attempts:,}",
            seconds(agent.p50),
            seconds(agent.p95),
        )
        for name, agent in document.agents.items()
    ]
    return table(("agent", "steps", "done", "failed", "tries", "p50", "p95"), rows, right=(1, 2, 3, 4, 5, 6))


def _inside(document: Summary) -> Iterator[str]:
    """The steps inside attempts by agent and name; empty where there are none."""

    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    rows = []
    for name, inner in list(document.inner.items())[:INSIDE]:
        numbers = (inner.started, inner.running, inner.done, inner.failed)
        times, tokens = (inner.p50, inner.p95), (inner.tokens_in, inner.tokens_out)
        rows.append(
            (
                name,
                *(f"{one:,}" for one in numbers),
                *map(seconds, times),
                *map(number, tokens),
                dollars(inner.usd),
            )
        )
    if rows:
        heads = ("inside", "started", "running", "done", "failed", "p50", "p95", "in", "out", "cost")
        yield from table(heads, rows, right=range(1, 10))
    if len(document.inner) > INSIDE:
        yield f"… and {len(document.inner) - INSIDE:,} more names; all: --json"


def _place_workers(document: Summary) -> Iterator[str]:
    """The workers of places, those with most attempts first; empty where there are none."""
    counts = {
        name: (one.running, one.done, one.failed, one.lost, one.cancelled)
        for name, one in document.place_workers.items()
    }
    first = sorted(counts, key=lambda name: -sum(counts[name]))[:INSIDE]
    if first:
        rows = [(name, *(f"{one:,}" for one in counts[name])) for name in first]
        yield from table(("worker", "running", "done", "failed", "lost", "cancelled"), rows, right=range(1, 6))
    if len(counts) > INSIDE:
        yield f"… and {len(counts) - INSIDE:,} more workers; all: --json"


def _costs(document: Summary) -> list[str]:
    """Tokens and costs of prompts by agent; empty if there were none."""

    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    rows = [
        (
            name,
            *(number(getattr(agent, key)) for key in ("tokens_in", "cached_in", "tokens_out")),
            *(dollars(getattr(agent, key)) for key in ("usd", "usd_all_reasoning", "saved")),
        )
        for name, agent in document.agents.items()
        if agent.tokens_in is not None or agent.tokens_out is not None
    ]
    heads = ("tokens", "in", "cached", "out", "cost", "all reasoning", "saved")
    return table(heads, rows, right=range(1, 7)) if rows else []


def _waited(document: Summary) -> Iterator[str]:
    """Time that steps waited, by agent, with a column for each reason; the largest reason first."""
    total: dict[str, float] = {}
    for agent in document.agents.values():
        for reason, value in agent.waiting.items():
            total[reason] = total.get(reason, 0.0) + value
    reasons = [reason for reason in sorted(total, key=lambda name: -total[name]) if total[reason]]
    if not reasons:
        return
    rows = [
        (name, *(seconds(agent.waiting.get(reason) or None) for reason in reasons))
        for name, agent in document.agents.items()
        if any(agent.waiting.values())
    ]
    rows.append(("all", *(seconds(total[reason]) for reason in reasons)))
    yield from table(("waited for", *reasons), rows, right=range(1, len(reasons) + 1))


def _place(one: TimelineEntry) -> str:
    return "/".join(part for part in (one.task, one.step) if part)
