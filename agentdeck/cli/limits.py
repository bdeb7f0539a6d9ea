"""`limits`: show the limits of a run, change them, or save the changed ones into the workflow file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli.commands import send
from agentdeck.cli.error_output import say
from agentdeck.cli.options import command_options, json_option, run_argument
from agentdeck.cli.text_tables import cut, out, print_document, table
from agentdeck.errors import UsageError
from agentdeck.insight.formatting import format_span, plural
from agentdeck.insight.limits import held_by
from agentdeck.limits.provider_limits import is_resource
from agentdeck.operations import commands
from agentdeck.operations.commands import RATES
from agentdeck.operations.recorded_run import LIVE, load_run, open_store
from agentdeck.terminal_text import clean
from agentdeck.workflow.place_types import slots_name
from agentdeck.workflow.units import rate, show_duration

if TYPE_CHECKING:
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Data

#: Agents, and reasons of waiting, that are named.
HELD = 4


@click.command()
@run_argument
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE…]")
@command_options
@json_option("Print the current values as one JSON object.")
def limits(run: str, changes: tuple[str, ...], by: str, db: str | None, as_json: bool) -> int:
    """Print the limits of a run, what uses them and which steps wait; or change them while it runs.

    `limits save RUN [FILE]` writes the changed limits into the workflow file, whose comments stay.

    \b
    Examples:
      agentdeck limits last
      agentdeck limits last workers=8 agents.extract.timeout=10s
      agentdeck limits last openai.requests=80/min
      agentdeck limits save last
    """
    import time

    from agentdeck.insight.limits import windows
    from agentdeck.insight.ready_steps import ready_counts
    from agentdeck.operations.limits import current_limits
    from agentdeck.store.reservations import in_use

    if run == "save":
        return _save(db, changes)
    if changes:
        command = commands.set_limits(dict(commands.limit_change(text) for text in changes))
        return send(db, run, command, as_json, by)
    with open_store(db) as reader:
        row, definition, view = load_run(reader, run)
        current = current_limits(definition, view)
        if as_json:
            from agentdeck.documents.command import Limits

            print_document(Limits.model_construct(current))
            return 0
        live = row.state in LIVE
        if live:
            view.now = max(view.now, time.time())
            ready = ready_counts(view, definition)
            used = in_use(reader, windows(view), time.time())
    uses = {name: _use(name, value, view, ready, used) if live else "" for name, value in current.items()}
    rows = [(name, _shown(name, value), uses[name]) for name, value in current.items()]
    rows += [
        (name, "none", "out of reach") for place in view.closed_places if (name := slots_name(place)) not in uses
    ]
    for line in table(("limit", "value", "in use"), rows, right=(1,)):
        out(line)
    if live:
        for line in held_up(view):
            out(line)
    return 0


def _save(db: str | None, args: tuple[str, ...]) -> int:
    """Write the changed limits of a run into its workflow file, or into the file that is named."""
    from agentdeck.operations.limits import save_changed_limits

    if not 1 <= len(args) <= 2:
        raise UsageError("name the run: agentdeck limits save RUN [FILE]")
    with open_store(db) as reader:
        run = reader.run(args[0]).run
        saved = save_changed_limits(reader, run, Path(args[1]) if len(args) == 2 else None)
    if not saved.limits:
        say(f"{run}: no limit was changed")
    elif not saved.written:
        say(f"{saved.file} already has these values")
    else:
        for name, value in saved.limits.items():
            out(clean(f"{saved.file}: {name} = {_shown(name, value)}"))
        for warning in saved.warnings:
            say(warning)
    return 0


def _shown(name: str, value: Data) -> str:
    """A limit's value as text."""
    if value is None:
        return "none"
    return show_duration(value) if name.endswith(".timeout") else str(value)


def _use(name: str, value: Data, view: RunView, ready: Mapping[str, int], used: Mapping[str, float]) -> str:
    """What uses a limit now, and how many steps wait for it. `ready` counts waiting steps by agent; `used`
    is what all runs use of a provider's limits."""
    parts = name.split(".")
    if name == "workers":
        return _use_of_workers(value, view, ready)
    if is_resource(name):
        return _use_of_resource(name, view, ready)
    if parts[0] == "agents" and len(parts) == 3 and parts[1] in view.agents:
        return _use_of_agent(parts[1], parts[2], value, view, ready)
    return _use_of_provider(name, value, view, used)


def _use_of_workers(value: Data, view: RunView, ready: Mapping[str, int]) -> str:
    running = sum(totals.busy_workers for totals in view.agents.values()) + len(view.held_workers)
    if not isinstance(value, int):
        text = f"{running:,} running"
    else:
        text = f"{running:,}/{value} {'draining' if running > value else 'running'}"
    if not ready:
        return text
    most = sorted(ready, key=lambda agent: -ready[agent])
    agents = ", ".join(f"{agent} {ready[agent]:,}" for agent in most[:HELD]) + (", …" if len(most) > HELD else "")
    return f"{text}; {sum(ready.values()):,} wait: {agents}"


def _use_of_resource(name: str, view: RunView, ready: Mapping[str, int]) -> str:
    from agentdeck.insight.resources import resource_waits, resources

    use, held = resources(view)[name], resource_waits(view, ready)[name]
    text = use.text + (" draining" if use.free < 0 else "")
    text += "; out of reach" if any(slots_name(place) == name for place in view.closed_places) else ""
    if held:
        agents = ", ".join(f"{agent} {count:,}" for agent, count in list(held.items())[:HELD])
        text += f"; {sum(held.values()):,} wait: {agents}" + (", …" if len(held) > HELD else "")
    return text


def _use_of_agent(agent: str, limit: str, value: Data, view: RunView, ready: Mapping[str, int]) -> str:
    since = [one.at for (_, step), one in view.running.items() if step.partition("[")[0] == agent]
    if limit == "timeout" and since:
        return f"{len(since):,} running, the oldest for {format_span(view.now - min(since))}"
    if limit == "max_parallel":
        waiting = ready.get(agent, 0)
        return f"{len(since):,}/{value} running" + (f"; {waiting:,} wait" if waiting else "")
    if limit == "attempts":
        retries = sum(
            step.until is not None and step.state == "ready" and step.agent.name == agent
            for task in view.open.values()
            for step in task.steps.values()
        )
        return f"{retries:,} waiting for a retry" if retries else ""
    return ""


def _use_of_provider(name: str, value: Data, view: RunView, used: Mapping[str, float]) -> str:
    provider, _, limit = name.partition(".")
    texts = []
    if name in used and isinstance(value, str) and limit in RATES:
        of = rate(value)
        texts.append(f"{used[name]:,.0f}/{of.count:,.0f} in the last {show_duration(of.seconds)}")
    elif name in used:
        most = f"/{value}" if isinstance(value, int) else ""
        over = isinstance(value, int) and used[name] > value
        texts.append(f"{used[name]:,.0f}{most}{' draining' if over else ''}")
    held = sum(
        step.state == "ready"
        and step.why.startswith(f"{provider}:")
        and (step.reason in limit.split("_") or held_by(step.reason, step.why) == name)
        for task in view.open.values()
        for step in task.steps.values()
    )
    return "; ".join([*texts, f"{held:,} wait"] if held else texts)


def held_up(view: RunView) -> Iterator[str]:
    """Lines on the places that are out of reach, and on why ready steps do not run, the most frequent reason
    first."""
    from collections import Counter

    from agentdeck.insight.closed_places import closed_places

    for text in closed_places(view, view.now):
        yield cut(clean(f"waiting    {text}"))
    steps = [step for task in view.open.values() for step in task.steps.values()]
    whys = Counter(step.why for step in steps if step.state == "ready" and step.why)
    for why, many in whys.most_common(HELD):
        yield cut(clean(f"waiting    {plural(many, 'step')}: {why}"))
