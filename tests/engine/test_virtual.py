"""The engine on virtual time: hours pass in milliseconds, and every figure is exact."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentdeck.agents.python import Python
from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.run_control import RunControl
from agentdeck.insight.forecast import forecast
from agentdeck.scheduler import events as ev
from agentdeck.workflow.loader import load, loads
from agentdeck.workflow.model import Agent, Definition, Timeout
from tests.observing import EventCollector
from tests.virtual_clock import LoopClock, virtual

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


class Played:
    """A run that was played on virtual time, with its log."""

    def __init__(
        self,
        definition: Definition,
        *,
        workers: int = 8,
        tasks: Iterable[Mapping[str, Any]] | None = None,
        yes: bool = False,
        steer: Any = None,
        folder: Path = ROOT / "workflows",
        **inputs: Any,
    ) -> None:
        collector = EventCollector()
        control = RunControl("eva")

        async def main() -> Outcome:
            launch = Launch(definition, folder, inputs, tasks, workers, yes=yes)
            async with anyio.create_task_group() as group:
                if steer is not None:
                    group.start_soon(steer, control)
                watch = Watch([collector], None, control)
                outcome = await run(launch, watch, LoopClock())
            return outcome

        self.outcome = anyio.run(main, backend_options=virtual())
        self.log = collector.events

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.log if type(event) is kind]

    def starts(self, step: str) -> list[float]:
        first = self.log[0].at
        return [round(e.at - first, 6) for e in self.of(ev.StepStarted) if e.step == step]


def agents(*lines: str) -> Definition:
    return loads("agentdeck: 1\nname: w\nagents:\n" + "\n".join(f"  {line}" for line in lines)).definition


def test_the_order_takes_five_seconds_instead_of_seven_and_a_half() -> None:
    played = Played(load(ROOT / "workflows" / "order.yaml").definition)
    assert played.outcome.state == "done"
    assert played.outcome.view.seconds == pytest.approx(5.0)
    assert played.starts("confirm") == [4.0]


@pytest.mark.parametrize("above", ["slow", "first, slow"])
def test_of_what_steps_that_end_together_release_the_longest_paths_start_first(above: str) -> None:
    """Handled alone, the end of `first` would start `short` at once, and `right` 1 s later. Which of two timers
    of the same moment ends first depends on which was set first, and that on the needs `above` the last agent."""
    definition = agents(
        "first: { simulate: 1s }",
        "second: { simulate: 1s }",
        "slow: { simulate: 3s }",
        "short: { simulate: 1s, needs: first }",
        "left: { simulate: 5s, needs: second }",
        "right: { simulate: 5s, needs: second }",
        f"last: {{ simulate: 9s, needs: [{above}] }}",
    )
    played = Played(definition, workers=3)
    assert played.starts("left") == played.starts("right") == [1.0]
    assert played.starts("short") == [6.0]


def test_a_thousand_orders_end_one_after_the_other() -> None:
    lines = (ROOT / "workflows" / "orders.jsonl").read_text().splitlines()
    definition = load(ROOT / "workflows" / "order.yaml").definition
    played = Played(definition, workers=20, tasks=map(json.loads, lines))
    assert played.outcome.view.tasks.done == 1000
    assert played.of(ev.TaskEnded)[0].at - played.log[0].at == pytest.approx(5.0)
    opened = most = 0
    for event in played.log:
        opened += isinstance(event, ev.TaskOpened) - isinstance(event, ev.TaskEnded)
        most = max(most, opened)
    assert most <= 21
    assert played.outcome.view.seconds <= 375 * 1.02


def test_clocks_fire_and_say_which_they_are() -> None:
    for timeout, clock, at in [("5s", "attempt", 5.0), ("{ attempt: 1h, total: 9s }", "total", 9.0)]:
        played = Played(agents(f"a: {{ simulate: 60s, retry: 1, timeout: {timeout} }}"))
        failed = played.of(ev.StepFailed)[0]
        assert failed.fault.clock == clock
        assert failed.at - played.log[0].at == pytest.approx(at)
    idle = agents(
        "a: { simulate: { takes: 60s, says: [one, two] }, retry: 1, timeout: { attempt: 1h, idle: 25s } }"
    )
    assert Played(idle).outcome.state == "done"
    silent = Played(agents("a: { simulate: 60s, retry: 1, timeout: { attempt: 1h, idle: 25s } }"))
    assert silent.of(ev.StepFailed)[0].fault.clock == "idle"


def test_a_raised_limit_wakes_who_waits_and_a_lowered_one_drains() -> None:
    async def steer(control: RunControl) -> None:
        await anyio.sleep(1)
        control.limit("workers", 2, 5)
        await anyio.sleep(1)
        control.limit("workers", 5, 1)

    played = Played(agents(*(f"a{i}: {{ simulate: 10s }}" for i in range(8))), workers=2, steer=steer)
    starts = sorted(e.at - played.log[0].at for e in played.of(ev.StepStarted))
    assert starts == pytest.approx([0, 0, 1, 1, 1, 11, 21, 31])


def test_drain_lets_steps_finish_and_cancel_ends_at_once() -> None:
    async def drain(control: RunControl) -> None:
        await anyio.sleep(1)
        control.drain()

    order = load(ROOT / "workflows" / "order.yaml").definition
    played = Played(order, steer=drain)
    assert played.outcome.state == "drained"
    assert len(played.of(ev.StepSucceeded)) == 1

    async def cancel(control: RunControl) -> None:
        await anyio.sleep(3)
        control.cancel()

    played = Played(order, steer=cancel)
    assert played.outcome.state == "cancelled"
    assert played.outcome.view.seconds == pytest.approx(3.0)


def test_items_fallbacks_dispatch_and_approvals() -> None:
    definition = agents(
        "list: { simulate: { takes: 1s, returns: [3, 1, 2] } }",
        "each: { each: list, max_parallel: 2, simulate: { takes: 1s, returns: '${item}' } }",
        "weak: { needs: each, simulate: { takes: 1s, fails: 100% }, retry: 1, on_error: { fallback: spare } }",
        "spare: { spare: true, simulate: { takes: 1s, returns: saved } }",
        "route: { dispatch: weak, cases: { saved: good }, otherwise: bad }",
        "good: { needs: route, approve: 'Go on with ${each}?' }",
        "bad: { needs: route, simulate: 1s }",
        "end: { needs: [good, bad], simulate: { takes: 1s, returns: '${good.approved} ${each}' } }",
    )
    played = Played(definition, yes=True)
    assert played.outcome.state == "done"
    assert played.outcome.view.output == "true [3, 1, 2]"
    assert played.outcome.view.seconds == pytest.approx(6.0)
    assert [e.step for e in played.of(ev.StepSkipped)] == ["bad"]


def test_a_sub_workflow_runs_as_nested_steps(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(
        "agentdeck: 1\nname: inner\ninputs: { n: integer }\nagents:\n"
        "  a: { simulate: { takes: 1s, returns: '${inputs.n + 1}' } }\n"
        "  b: { simulate: { takes: 1s, returns: '${a * 10}' } }\n"
    )
    outer = tmp_path / "outer.yaml"
    outer.write_text(
        "agentdeck: 1\nname: outer\nagents:\n"
        "  first: { simulate: { takes: 1s, returns: [1, 2] } }\n"
        "  sub: { workflow: inner.yaml, with: { n: '${first[1]}' } }\n"
    )
    played = Played(load(outer).definition, folder=tmp_path)
    assert played.outcome.view.output == 30
    assert {e.task for e in played.of(ev.TaskOpened)} == {"1", "1/sub"}


def test_once_happens_once_and_typed_output_is_held_to_its_type() -> None:
    definition = loads(
        "agentdeck: 1\nname: w\ninputs: { n: integer }\nagents:\n"
        "  a: { once: 'pay-${inputs.n}', simulate: { takes: 1s, returns: paid } }\n"
    ).definition
    played = Played(definition, workers=1, tasks=[{"n": 1}, {"n": 2}, {"n": 1}])
    assert [e.reused for e in played.of(ev.StepSucceeded)] == [False, False, True]
    wrong = Played(agents("a: { simulate: { returns: { s: hgh } }, retry: 1, output: { s: [low, high] } }"))
    assert wrong.of(ev.StepFailed)[0].fault.kind == "invalid"


def test_recorded_graphs_come_close_to_the_best_known_schedules() -> None:
    bounds = json.loads((DATA / "dags-bounds.json").read_text())
    ratios = []
    for name, known in bounds.items():
        nodes = json.loads((DATA / "dags" / f"{name}.json").read_text())["nodes"]
        free = Timeout(attempt=None)
        made = {n["id"]: Agent(n["id"], Python("m:f"), needs=tuple(n["deps"]), timeout=free) for n in nodes}
        seconds = {n["id"]: n["duration"] for n in nodes}
        for workers, best in known.items():
            took = forecast(Definition(name, made), int(workers), seconds=seconds).seconds
            ratios.append(took / best["best_known"])
    assert len(ratios) == 40
    assert math.exp(sum(map(math.log, ratios)) / 40) <= 1.015
    assert max(ratios) <= 1.17


def test_only_invalid_answers_escalate() -> None:
    retry = "retry: { attempts: 3, delay: 1ms, escalate: true }"
    invalid = Played(agents(f'a: {{ prompt: hi, tier: routing, expect: "len(output) < 0", {retry} }}'))
    assert [e.tier_up for e in invalid.of(ev.StepStarted)] == [0, 1, 2]
    broken = Played(agents(f"a: {{ simulate: {{ takes: 1s, fails: 100% }}, tier: routing, {retry} }}"))
    assert [e.tier_up for e in broken.of(ev.StepStarted)] == [0, 0, 0]
