"""`limits`: of a run, as they are now; or changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import by_option, db_option, json_option, run_argument

if TYPE_CHECKING:
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Data, Definition

#: So many reasons of waiting are told.
HELD = 4
RATES = ("requests", "tokens", "input_tokens", "output_tokens")


@click.command()
@run_argument
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE…]")
@by_option
@db_option
@json_option("The current values as one JSON object.")
def limits(run: str, changes: tuple[str, ...], by: str | None, db: str | None, as_json: bool) -> int:
    """Print the limits of a run, what uses them and who waits; or change them while it runs.

    `limits save RUN [FILE]` writes what was changed into the workflow's file, which keeps its comments.

    \b
    Examples:
      agentdeck limits last
      agentdeck limits last workers=8 agents.extract.timeout=10s
      agentdeck limits last openai.requests=80/min
      agentdeck limits save last
    """
    import time

    from agentdeck.cli.commands import send
    from agentdeck.cli.text_tables import dump, out, table
    from agentdeck.insight.limits import windows
    from agentdeck.insight.why import ready_counts
    from agentdeck.operations import commands
    from agentdeck.operations.recorded_run import load_run, open_store
    from agentdeck.store.usage import in_use

    if run == "save":
        return _save(db, changes)
    if changes:
        command = commands.set_limits(dict(commands.limit_change(text) for text in changes))
        return send(db, run, command, as_json, by)
    with open_store(db) as reader:
        row, definition, view = load_run(reader, run)
        now = current(definition, view)
        if as_json:
            dump(now)
            return 0
        living = row.state in ("running", "paused")
        waits = ready_counts(view, definition) if living else {}
        if living:
            view.now = max(view.now, time.time())
        calls = in_use(reader, windows(view), time.time()) if living else {}
        rows = [
            (name, _shown(name, value), use(name, value, view, waits, calls) if living else "")
            for name, value in now.items()
        ]
    for line in table(("limit", "value", "in use"), rows, right=(1,)):
        out(line)
    if living:
        for line in held_up(view):
            out(line)
    return 0


def _save(db: str | None, args: tuple[str, ...]) -> int:
    """Write the limits that were changed into the file: the run's own, or the one named."""
    from agentdeck.cli.error_output import say
    from agentdeck.cli.text_tables import out
    from agentdeck.errors import UsageError
    from agentdeck.operations.recorded_run import open_store
    from agentdeck.operations.workflow_file_edit import save
    from agentdeck.scheduler.events import AUTO
    from agentdeck.terminal_text import clean

    if not 1 <= len(args) <= 2:
        raise UsageError("say which run: agentdeck limits save RUN [FILE]")
    with open_store(db) as reader:
        row = reader.run(args[0])
        changed = {
            event.name: event.new
            for event in reader.of_kind(row.run, "limit_changed")
            if event.who != AUTO and event.name != "budget.tier"  # those are of this run alone
        }
    if not changed:
        say(f"{row.run}: no limit was changed")
        return 0
    own = str(row.source.get("file") or "")
    if len(args) < 2 and not own.endswith((".yaml", ".yml")):
        what = f"{own} is Python: write them there" if own else "it came from no file; name one"
        raise UsageError(f"{row.run}: {what} ({', '.join(changed)})")
    file = Path(args[1] if len(args) == 2 else own)
    if not save(file, changed, file if file.exists() else Path(own)):
        say(f"{file} says so already")
        return 0
    for name, value in changed.items():
        out(clean(f"{file}: {name} = {_shown(name, value)}"))
    for in_deck_notation in _beyond(changed, file.parent):
        say(in_deck_notation)
    return 0


def _beyond(changed: Mapping[str, Data], folder: Path) -> list[str]:
    """Limits of providers that the deck holds lower: a workflow may tighten them, never loosen."""
    from agentdeck.limits.provider_limits import in_deck_notation, tightest, with_changes
    from agentdeck.workflow.deck import deck_for
    from agentdeck.workflow.model import ProviderLimits

    deck, found = deck_for(folder), []
    for name, value in changed.items():
        provider, _, limit = name.partition(".")
        if provider in deck.providers:
            wanted, own = with_changes(ProviderLimits(), {limit: value}), deck.providers[provider].limits
            holds = in_deck_notation(tightest(own, wanted)).get(limit)
            if holds != in_deck_notation(wanted).get(limit):
                found.append(f"{name}: {holds} of {deck.file} still holds; raise it there")
    return found


def current(definition: Definition, view: RunView) -> dict[str, Data]:
    """Each limit with its value: as the workflow says, with what was changed since."""
    values: dict[str, Data] = {"workers": view.workers}
    for name, agent in definition.agents.items():
        if agent.does.verb in ("dispatch", "approve"):
            continue
        values[f"agents.{name}.timeout"] = agent.timeout.attempt
        values[f"agents.{name}.attempts"] = agent.retry.attempts
        if agent.max_parallel is not None:
            values[f"agents.{name}.max_parallel"] = agent.max_parallel
    return {**values, **view.limits}


def _shown(name: str, value: Data) -> str:
    from agentdeck.workflow.units import show_duration

    if value is None:
        return "none"
    return show_duration(value) if name.endswith(".timeout") else str(value)


def use(name: str, value: Data, view: RunView, waits: Mapping[str, int], calls: Mapping[str, float]) -> str:
    """What uses a limit now, and who waits for it."""
    from agentdeck.insight.formatting import format_span

    parts = name.split(".")
    if name == "workers":
        running = sum(tally.counts["running"] for tally in view.agents.values() if tally.uses_worker)
        in_deck_notation = [f"{running:,}/{value} running" if value is not None else f"{running:,} running"]
        if isinstance(value, int) and running > value:
            in_deck_notation = [f"{running:,}/{value} draining"]
        if waits:
            most = sorted(waits, key=lambda agent: -waits[agent])
            who = ", ".join(f"{agent} {waits[agent]:,}" for agent in most[:4]) + (", …" if len(most) > 4 else "")
            in_deck_notation.append(f"{sum(waits.values()):,} wait: {who}")
        return "; ".join(in_deck_notation)
    if parts[0] != "agents" or len(parts) != 3 or parts[1] not in view.agents:
        return _called(name, value, view, calls)
    running_since = [one.at for (_, step), one in view.running.items() if step.partition("[")[0] == parts[1]]
    if parts[2] == "timeout" and running_since:
        return f"{len(running_since):,} running, the oldest for {format_span(view.now - min(running_since))}"
    if parts[2] == "max_parallel":
        return f"{len(running_since):,}/{value} running" + (
            f"; {waits[parts[1]]:,} wait" if waits.get(parts[1]) else ""
        )
    if parts[2] == "attempts":
        again = sum(
            step.until is not None and step.state == "ready" and step.agent.name == parts[1]
            for task in view.open.values()
            for step in task.steps.values()
        )
        return f"{again:,} to be tried again" if again else ""
    return ""


def _called(name: str, value: Data, view: RunView, calls: Mapping[str, float]) -> str:
    """What all runs together use of a provider's limit, and who of this one waits for it."""
    from agentdeck.workflow.units import rate, show_duration

    provider, _, limit = name.partition(".")
    in_deck_notation = []
    if name in calls and isinstance(value, str) and limit in RATES:
        of = rate(value)
        in_deck_notation.append(f"{calls[name]:,.0f}/{of.count:,.0f} in the last {show_duration(of.seconds)}")
    elif name in calls:
        most = f"/{value}" if isinstance(value, int) else ""
        over = isinstance(value, int) and calls[name] > value
        in_deck_notation.append(f"{calls[name]:,.0f}{most}{' draining' if over else ''}")
    held = sum(
        step.state == "ready" and step.reason in limit.split("_") and step.why.startswith(f"{provider}:")
        for task in view.open.values()
        for step in task.steps.values()
    )
    return "; ".join([*in_deck_notation, f"{held:,} wait"] if held else in_deck_notation)


def held_up(view: RunView) -> Iterator[str]:
    """What keeps steps that could run from running, as far as that was told; the most first."""
    from collections import Counter

    from agentdeck.cli.text_tables import cut
    from agentdeck.insight.formatting import plural
    from agentdeck.terminal_text import clean

    steps = [step for task in view.open.values() for step in task.steps.values()]
    whys = Counter(step.why for step in steps if step.state == "ready" and step.why)
    for why, many in whys.most_common(HELD):
        yield cut(clean(f"held up    {plural(many, 'step')}: {why}"))
