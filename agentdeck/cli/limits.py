"""`limits`: of a run, as they are now; or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import db_option, json_option

if TYPE_CHECKING:
    from agentdeck.core.view import View
    from agentdeck.workflow.model import Data, Definition

RATES = ("requests", "tokens", "input_tokens", "output_tokens")


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE…]")
@db_option
@json_option("The current values as one JSON object.")
def limits(run: str, changes: tuple[str, ...], db: str | None, as_json: bool) -> int:
    """Print the limits of a run, or change them: workers=8 agents.extract.timeout=10s openai.requests=80/min."""
    from agentdeck.cli.ask import ask
    from agentdeck.cli.options import store
    from agentdeck.cli.pages import dump, out, table
    from agentdeck.core.view import View
    from agentdeck.workflow.model import restored

    if changes:
        return ask(db, run, "limits", dict(_change(text) for text in changes))
    with store(db) as reader:
        row = reader.run(run)
        definition = restored(reader.definition(row.identity))
        view = View(definition)
        for seq, event in reader.events(row.run):
            view.apply(seq, event)
    now = current(definition, view)
    if as_json:
        dump(now)
        return 0
    rows = [(name, _shown(name, value), _use(name, view)) for name, value in now.items()]
    for line in table(("limit", "value", "in use"), rows, right=(1,)):
        out(line)
    return 0


def current(definition: Definition, view: View) -> dict[str, Data]:
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


def _change(text: str) -> tuple[str, Data]:
    from agentdeck.cli.inputs import pair
    from agentdeck.errors import UsageError
    from agentdeck.workflow.units import duration, rate, show_rate

    name, value = pair(text, "limits")
    try:
        last = name.rsplit(".", 1)[-1]
        if last == "timeout":
            return name, duration(value)
        if last in RATES and not name.startswith("agents."):
            return name, None if value == "none" else show_rate(rate(value))
        if last == "concurrent" and value in ("auto", "none"):
            return name, value
        return name, int(value)
    except ValueError as error:
        what = (
            str(error) if "duration" in str(error) or "rate" in str(error) else f"{value!r} is not a whole number"
        )
        raise UsageError(f"{name}: {what}") from None


def _shown(name: str, value: Data) -> str:
    from agentdeck.workflow.units import show_duration

    if value is None:
        return "none"
    return show_duration(value) if name.endswith(".timeout") else str(value)


def _use(name: str, view: View) -> str:
    """What uses it and who waits, where that is told of."""
    agents = view.agents
    if name == "workers":
        running = sum(tally.steps["running"] for tally in agents.values() if tally.holds)
        ready = sum(tally.steps["ready"] for tally in agents.values())
        return f"{running:,} running, {ready:,} ready"
    if name.endswith(".max_parallel"):
        tally = agents.get(name.split(".")[1])
        return f"{tally.steps['running']:,} running, {tally.steps['ready']:,} ready" if tally else ""
    return ""
