"""A view from a snapshot and the rest of the log is the view from the whole log."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.views import agent_totals, task_view
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import restored_view, snapshot_of
from agentdeck.workflow.model import Agent, Definition
from tests.scheduler.driver import Desk, Player, agent, definition, prompt
from tests.scheduler.graphs import Action, actions, graphs, nested, operate, random_plan, randoms

#: Not part of what a view has folded: functions, and what comes from the definition. Of a nested task only what a
#: screen shows of it is compared, as one that has ended is not remembered.
#: `_names` is counted again when it is needed.
LEFT_OUT = {"_handlers", "handlers", "definition", "nested", "_names"}


def content(value: Any, seen: set[int] | None = None) -> Any:
    """Everything that an object holds, attributes that nobody reads included, with the order of maps. An object
    that several refer to is looked into once."""
    seen = set() if seen is None else seen
    if isinstance(value, dict):
        return [(key, content(one, seen)) for key, one in value.items()]
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, list | tuple | frozenset):
        return type(value), [content(one, seen) for one in value]
    if id(value) in seen:
        return type(value), "…"
    seen.add(id(value))
    names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
    held = [(name, content(getattr(value, name), seen)) for name in names if name not in LEFT_OUT]
    if hasattr(value, "display_state"):
        held.append(("display_state", value.display_state))
    return type(value), held, [content(one, seen) for one in value] if hasattr(value, "maxlen") else []


def there_and_back(of: Definition, view: RunView) -> RunView:
    return restored_view(of, json.loads(json.dumps(snapshot_of(view))))


def check(of: Definition, log: list[ev.Event], cuts: set[int]) -> None:
    """Restore a view at each cut, and compare it after each further event."""
    view, restored = RunView(of), list[RunView]()
    for seq, event in enumerate(log, 1):
        for one in (view, *restored):
            one.apply(seq, event)
        if seq in cuts:
            restored.append(there_and_back(of, view))
        for one in restored:
            assert content(one) == content(view)


@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate], max_examples=settings().max_examples // 4)
@given(agents=graphs(), tasks=st.integers(1, 3), acts=actions(), random=randoms())
def test_a_restored_view_goes_on_as_the_whole_fold(
    agents: list[Agent], tasks: int, acts: list[Action], random: Random
) -> None:
    of = definition(*agents)
    player = Player(of, workers=3, tasks=tasks, plan=random_plan(random), nested=nested(agents))
    operate(player, acts, agents)
    while not player.finished:
        assert player.step()
    player.retry(*sorted(player.letters)[:3]).play(20_000)
    check(of, player.log, set(random.sample(range(1, len(player.log) + 1), min(3, len(player.log)))))


def test_prompts_failures_and_more_than_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_totals, "EXACT", 5)
    monkeypatch.setattr(task_view, "KEPT_FAILED", 4)
    of = definition(prompt("ask"), agent("work", "ask"), agent("items", "work", each="[1, 2]"))

    def plan(started: ev.StepStarted) -> tuple[float, Fault | object]:
        bad = started.step == "work" and int(started.task) % 3 == 0
        return 0.1 * int(started.task), Fault("permanent", "no") if bad else {"text": "yes"}

    player = Player(
        of,
        tasks=20,
        plan=plan,
        desk=Desk(most=5),
        usage=lambda started: (
            ev.Usage(10, 20, 1, 0.01, 0.02, "m", True) if started.agent == "ask" else ev.Usage()
        ),
    ).play()
    player.retry(("18", "work")).play()
    check(of, player.log, {1, len(player.log) // 3, len(player.log) // 2, len(player.log)})


def test_a_snapshot_does_not_change_with_later_events() -> None:
    of = definition(agent("a"), agent("b", "a"))
    log = Player(of, tasks=6).play().log
    view = RunView(of)
    for seq, event in enumerate(log[:20], 1):
        view.apply(seq, event)
    snapshot = snapshot_of(view)
    before = json.dumps(snapshot)
    for seq, event in enumerate(log[20:], 21):
        view.apply(seq, event)
    assert json.dumps(snapshot) == before
    assert json.dumps(snapshot_of(view)) != before


def test_other_data_is_refused() -> None:
    of = definition(agent("a"))
    bad: list[dict[str, Any]] = [{}, {"view": []}, {**snapshot_of(RunView(of)), "tasks": [1]}]
    for data in bad:
        with pytest.raises((KeyError, TypeError, ValueError)):
            restored_view(of, data)
