"""`plan`: show what a run would execute, in which order, and its shortest duration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import db_option, json_option
from agentdeck.cli.text_tables import cut, out, print_document, table
from agentdeck.errors import StoreError, UsageError
from agentdeck.insight.formatting import plural, seconds
from agentdeck.operations.recorded_run import open_store
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.insight.plan import Plan
    from agentdeck.scheduler.order_search import FoundOrder
    from agentdeck.workflow.deck import Deck
    from agentdeck.workflow.model import Agent, Definition


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--tasks", metavar="FILE|N", type=click.Path(), help="A task file, or a number of tasks.")
@click.option("--workers", type=click.IntRange(1, 10_000), metavar="N", help="Number of steps that run at once.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting, as in `run`.")
@click.option("--search", metavar="TIME", help="Search the order of steps for so long (2s); a run takes 20ms.")
@db_option
@json_option("Print the plan as one JSON object.")
def plan(
    file: str,
    tasks: str | None,
    workers: int | None,
    settings: tuple[str, ...],
    search: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Show levels, critical path, slack, lower bound, and what will be executed: commands, modules, hosts.
    Nothing is run. Durations are those of earlier runs, if there are any, else those of agents of the same name
    that do the same in other workflows.

    \b
    Examples:
      agentdeck plan order.yaml
      agentdeck plan order.yaml --tasks orders.jsonl --workers 16
      agentdeck plan order.yaml --tasks 1000 --set agents.payment.max_parallel=4 --json
      agentdeck plan order.yaml --search 2s
    """
    from agentdeck.gateway.model_names import uses_gateway
    from agentdeck.insight.plan import plan as make
    from agentdeck.insight.plan import plan_document
    from agentdeck.operations.overrides import override
    from agentdeck.operations.settings import workers as settle
    from agentdeck.store.reader import means
    from agentdeck.workflow.agent_kind import kind_of
    from agentdeck.workflow.deck import Deck, deck_for
    from agentdeck.workflow.loader import load
    from agentdeck.workflow.model import Prompt
    from agentdeck.workflow.place_types import with_slots

    definition = override(load(Path(file)).definition, settings)
    folder = definition.folder or Path(file).parent
    prompts = [agent for agent in definition.agents.values() if isinstance(agent.does, Prompt)]
    may_call = any(kind_of(agent).can_use_gateway(agent) for agent in definition.agents.values())
    deck = deck_for(folder) if prompts or may_call else Deck()
    definition = with_slots(definition, deck)
    samples, elsewhere = _seen(db, definition, folder)
    searching = None if search is None else _time(search)
    settled, number = settle(workers, definition, folder), _number(tasks, definition)
    made = make(definition, settled, number, means(samples), elsewhere=elsewhere)
    order = _order(definition, samples, made, searching)
    calling = [name for name, agent in definition.agents.items() if may_call and uses_gateway(deck, agent)]
    bound = (0.0, "")
    if deck.models:
        from agentdeck.insight.launch_forecast import request_bound

        bound = request_bound(definition, deck, made.tasks)
    if as_json:
        print_document(plan_document(made, bound, order, calling))
    else:
        answering = _answering(prompts, deck) if prompts else {}
        for line in page(made, answering, _rate_line(bound, definition, deck), _order_line(order, search)):
            out(line)
        if calling:
            out(clean(f"{'gateway':<14} {_gateway_line(calling, deck)}"))


def _time(search: str) -> float:
    from agentdeck.workflow.units import duration

    try:
        return duration(search)
    except ValueError as error:
        raise UsageError(f"--search: {error}") from error


def _order(
    definition: Definition, samples: Mapping[str, Sequence[float]], made: Plan, searching: float | None
) -> FoundOrder:
    """The order in which a run starts its steps, searched for so long, or as briefly as a launch does."""
    from agentdeck.scheduler.order_search import BRIEFLY, FoundOrder, search_order

    if made.tasks > 1:
        return FoundOrder(reason="the tasks of a run start by age")
    until = perf_counter() + (BRIEFLY if searching is None else searching)
    return search_order(definition, samples, made.workers or 1, "plan", lambda: perf_counter() < until)


def _order_line(order: FoundOrder, search: str | None) -> str:
    """What the order of steps gains; where it gains nothing, why, if a search was asked for."""
    if order.agents:
        found = f"{seconds(order.seconds)} as found by a search of {search or '20ms'}"
        return f"{found}, {seconds(order.path_seconds)} with the longest path first"
    return f"the longest path first: {order.reason}" if search else ""


def _rate_line(bound: tuple[float, str], definition: Definition, deck: Deck) -> str:
    """How long the limits of requests take alone; empty where they take no time."""
    from agentdeck.limits.provider_limits import all_in_deck_notation, caps_of

    least, name = bound
    if not name:
        return ""
    return f"at least {seconds(least)} at {name} {all_in_deck_notation(caps_of(deck, definition))[name]}"


def _gateway_line(agents: Sequence[str], deck: Deck) -> str:
    """Which agents call models by themselves, and what answers them."""
    mapped = ", ".join(f"{name} = {target}" for name, target in deck.gateway.models.items())
    return f"{', '.join(agents)}: calls of models by their own code; {mapped or 'all = execution'}"


def _answering(prompts: Sequence[Agent], deck: Deck) -> dict[str, str]:
    """The models that would answer prompts, by the plan's target: a tier or a model. Raises AgentdeckError."""
    from agentdeck.providers.registry import complete, models_for
    from agentdeck.workflow.agent_kind import kind_of

    deck, found = complete(deck), dict[str, str]()
    for agent in prompts:
        models = [(name, deck.models[name].provider) for name in models_for(deck, agent)]
        found[kind_of(agent).target(agent)] = ", else ".join(
            name if name == provider else f"{name} of {provider}" for name, provider in models
        )
    return found


def _number(tasks: str | None, definition: Definition) -> int:
    from agentdeck.operations.task_files import TaskFile

    if tasks is None:
        return 1
    if tasks.replace("_", "").isdigit():
        if (number := int(tasks)) < 1:
            raise UsageError("--tasks: a plan needs at least one task")
        return number
    names = dict.fromkeys(definition.inputs)  # of -i, only the names are known
    return TaskFile(tasks, definition, names).count()


def _seen(
    db: str | None, definition: Definition, folder: Path
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Durations of agents in earlier runs, and of those that only other workflows have measured; empty if the
    store cannot be read."""
    try:
        with open_store(db) as reader:
            seen: dict[str, list[float]] = reader.samples(definition.name, str(folder.resolve()))
            elsewhere: dict[str, float] = reader.seconds_elsewhere(definition, str(folder.resolve()))
    except StoreError:
        return {}, {}
    return {name: taken for name, taken in seen.items() if name in definition.agents}, elsewhere


def page(made: Plan, answering: Mapping[str, str], rates: str = "", order: str = "") -> Iterator[str]:
    yield clean(f"{made.workflow}: {plural(made.tasks, 'task')} at {plural(made.workers or 0, 'worker')}")
    yield ""
    for number, level in enumerate(made.levels, 1):
        yield cut(clean(f"level {number}  {', '.join(level)}"))
    yield ""
    rows = [
        (
            deed.agent + ("[]" if deed.many else "") + (" (spare)" if deed.spare else ""),
            seconds(deed.seconds),
            "-" if deed.spare else seconds(deed.slack),
            deed.source,
            f"{deed.verb} {deed.target}".rstrip(),
        )
        for deed in made.deeds
    ]
    yield from table(("agent", "takes", "slack", "from", "does"), rows, right=(1, 2))
    yield ""
    yield clean(f"critical path  {' → '.join(made.critical_path)}  ({seconds(made.path_seconds)})")
    yield f"lower bound    {seconds(made.lower_bound)}"
    if rates:
        yield clean(f"rates          {rates}")
    for one in made.resources:
        users = ", ".join(f"{agent} {amount}" for agent, amount in one.agents.items()) or "no agent uses it"
        alone = f"; at least {seconds(one.seconds)} for all that use it" if one.seconds else ""
        yield clean(f"{one.name:<14} {one.limit} shared: {users}{alone}")
    if order:
        yield clean(f"order          {order}")
    if made.uncounted:
        yield clean(
            f"sequential     unknown: the number of items of {', '.join(made.uncounted)} is known only in the run"
        )
    else:
        yield f"sequential     {seconds(made.sequential)}"
    if made.assumed:
        yield clean(f"assumed        1 s each for {', '.join(made.assumed)}: no earlier run has measured them")
    for heading, targets in made.targets().items():
        if named := [f"{one}: {answering[one]}" if one in answering else one for one in targets]:
            yield clean(f"{heading:<14} {named[0]}")
            yield from (clean(f"{'':<14} {one}") for one in named[1:])
