"""Budgets against a server that charges: what it charged is what the run says, and never more than it may be."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest

from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.run_control import RunControl
from agentdeck.insight.summary import summary
from agentdeck.scheduler import events as ev
from agentdeck.workflow.loader import load
from tests.observing import EventCollector
from tests.providers.server import charged
from tests.providers.test_run import Place, events_of, place

__all__ = ["place"]
pytestmark = pytest.mark.anyio

#: Dollars per million tokens of the model `odd`.
PRICE = (10.0, 50.0)
TEXT = "Summarize invoice 0123456789 of 2026-11-20: 4711 items, 99.95 each, in short. "


async def run_bounded(place: Place, model: str, budget: str, *, tasks: int, agent: str = "") -> Outcome:
    place.deck(model)
    deck = place.folder / "deck.yaml"
    text = deck.read_text().replace(f"id: {model} }}", f"id: {model}, price: {{ in: 10, out: 50 }} }}")
    deck.write_text("limits: { workers: 64 }\n" + text)
    (place.folder / "w.yaml").write_text(
        f"agentdeck: 1\nname: w\ndefaults: {{ tier: odd, retry: {{ attempts: 3, delay: 10ms }} }}\n"
        f"budget: {budget}\nlimits: {{ workers: 64 }}\n"
        f"inputs: {{ text: string }}\nagents:\n  a: {{ prompt: '${{inputs.text}}'{agent} }}\n"
    )
    control = RunControl()

    def seen(event: ev.Event) -> None:
        if isinstance(event, ev.RunPaused):
            control.drain()

    rows = [{"text": TEXT * (1 + n % 3)} for n in range(tasks)]
    definition = load(place.folder / "w.yaml").definition
    launch = Launch(definition, place.folder, {}, rows, 64, db=place.db)
    return await run(launch, Watch([EventCollector(seen)], place.lines.append, control))


def spent(place: Place, wanted: int) -> tuple[float, int]:
    """Dollars and tokens that the server charged."""
    counts = [charged(asked.body, wanted) for asked in place.server.asked]
    usd = sum(one[0] * PRICE[0] + one[1] * PRICE[1] for one in counts) / 1e6
    return usd, sum(map(sum, counts))


def most_of(body: Any) -> int | None:
    found = body.get("max_tokens") or body.get("max_completion_tokens")
    return None if found is None else int(found)


@pytest.mark.parametrize(("usd", "wanted"), [(0.5, 3000), (1.0, 900), (0.05, 200)])
async def test_a_budget_in_dollars_is_not_exceeded_without_max_output(
    place: Place, usd: float, wanted: int
) -> None:
    outcome = await run_bounded(place, f"charge-{wanted}", f"{{ usd: {usd} }}", tasks=60)
    assert outcome.state in ("drained", "done")
    assert all(most_of(asked.body) for asked in place.server.asked), "max_output is always sent"
    cost, _ = spent(place, wanted)
    assert 0.75 * usd <= cost <= usd
    told = summary(outcome.view)
    if place.kind == "openai":
        assert told.usd == pytest.approx(cost, rel=0.02)


@pytest.mark.parametrize("budget", ["{ tokens: 20k }", "{ task: { tokens: 2500, ladder: { 100%: stop } } }"])
async def test_a_budget_in_tokens_is_not_exceeded(place: Place, budget: str) -> None:
    await run_bounded(place, "charge-1500", budget, tasks=20, agent=", max_output: 2000")
    _, tokens = spent(place, 1500)
    assert tokens <= (20_000 if "task" not in budget else 20 * 2500)
    assert place.server.asked


async def test_many_cheap_prompts_at_once_change_nothing(place: Place) -> None:
    ladder = "{ 50%: reduce, 60%: downgrade, 70%: drop, 80%: ask }"
    outcome = await run_bounded(
        place, "charge-8", f"{{ usd: 1, ladder: {ladder} }}", tasks=64, agent=", priority: low"
    )
    assert outcome.state == "done"
    assert len(events_of(place, outcome, ev.StepSucceeded)) == 64
    assert not [event for event in events_of(place, outcome, ev.Noted) if event.data]
    assert not any(event.eased for event in events_of(place, outcome, ev.StepStarted))
    assert (summary(outcome.view).usd or 1) < 0.2


async def test_tool_rounds_of_a_failed_attempt_are_counted(place: Place) -> None:
    pytest.importorskip("mcp")
    outcome = await run_bounded(
        place, "tools", "{ usd: 10 }", tasks=1, agent=", tools: [sums/add], retry: 2, timeout: 30s"
    )
    assert outcome.state == "failed"
    assert len(place.server.asked) == 22
    faults = events_of(place, outcome, ev.AttemptFailed)
    assert [event.usage.tokens_out for event in faults] == [33, 33], "three for each of eleven answers"
    assert all(event.usage.usd > 0 and not event.usage.estimated for event in faults)
    told = summary(outcome.view)
    assert told.usd == pytest.approx(sum(event.usage.usd for event in faults))
    grew = events_of(place, outcome, ev.ReservationGrew)
    assert len(grew) == 20, "each further round is held before it is sent"
    held = [event.reserved_usd for event in grew[:10]]
    assert held == sorted(held)


async def test_a_tool_round_that_the_budget_has_no_room_for_is_not_sent(place: Place) -> None:
    pytest.importorskip("mcp")
    agent = ", tools: [sums/add], max_output: 100, timeout: 30s"
    outcome = await run_bounded(place, "tools", "{ tokens: 250 }", tasks=1, agent=agent)
    assert outcome.state == "drained"
    faults = [event.fault for event in events_of(place, outcome, ev.AttemptFailed)]
    assert {fault.kind for fault in faults} == {"budget"}
    assert "does not cover another request" in faults[0].message
    used = sum(
        event.usage.tokens_in + event.usage.tokens_out for event in events_of(place, outcome, ev.AttemptFailed)
    )
    assert 0 < used <= 250


@pytest.mark.parametrize("how", ["cut", "stall"])
async def test_what_came_of_an_answer_that_was_cut_is_estimated(place: Place, how: str) -> None:
    outcome = await run_bounded(
        place, how, "{ usd: 10 }", tasks=1, agent=", retry: 1, timeout: { idle: 2s, attempt: 30s }"
    )
    (failed,) = events_of(place, outcome, ev.AttemptFailed)
    assert failed.usage.estimated
    assert failed.usage.tokens_in >= len(TEXT) // 4
    assert 1 <= failed.usage.tokens_out <= 5
    told = summary(outcome.view)
    assert told.agents["a"].estimated == 1
    assert told.usd == pytest.approx(failed.usage.usd)


async def test_an_answer_that_the_provider_broke_off_costs_its_prompt(place: Place) -> None:
    outcome = await run_bounded(place, "filtered", "{ usd: 10 }", tasks=1)
    (failed,) = events_of(place, outcome, ev.AttemptFailed)
    assert failed.fault.kind == "refused"
    assert failed.usage.estimated
    assert failed.usage.tokens_in >= len(TEXT) // 4


async def test_a_refused_request_costs_nothing(place: Place) -> None:
    outcome = await run_bounded(place, "broken", "{ usd: 10 }", tasks=1)
    assert {event.usage for event in events_of(place, outcome, ev.AttemptFailed)} == {None}
    assert summary(outcome.view).usd is None


async def test_a_cancelled_prompt_is_estimated(place: Place) -> None:
    place.deck("stall")
    (place.folder / "w.yaml").write_text(
        "agentdeck: 1\nname: w\ndefaults: { tier: odd }\nagents: { a: { prompt: 'Say something.' } }\n"
    )
    control = RunControl()
    launch = Launch(load(place.folder / "w.yaml").definition, place.folder, {}, db=place.db)

    begun, loop = anyio.Event(), asyncio.get_running_loop()

    def seen(event: ev.Event) -> None:
        if isinstance(event, ev.StepStarted):
            loop.call_soon_threadsafe(begun.set)

    async def cancel() -> None:
        await begun.wait()
        await anyio.sleep(0.5)
        control.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        outcome = await run(launch, Watch([EventCollector(seen)], place.lines.append, control))
    assert outcome.state == "cancelled"
    (cancelled,) = events_of(place, outcome, ev.StepCancelled)
    assert cancelled.usage.estimated
    assert cancelled.usage.tokens_in == len("Say something.") // 4 + 1
    assert json.dumps(summary(outcome.view).agents["a"].estimated) == "1"
