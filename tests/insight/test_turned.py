"""What turning a limit would do, told from runs of known shape."""

from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.insight.what_if import RunSnapshot, predict_change, predict_rest, snapshot_run
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Data

WORK = """
agentdeck: 1
name: w
agents:
  a: { prompt: hello, timeout: 20s }
  b: { needs: a, simulate: 1s }
"""


def halfway(
    tasks: int = 100, done: int = 10, calls: dict[str, float] | None = None, **limits: Data
) -> RunSnapshot:
    """`a` takes 4 s and costs 10 cents, `b` takes 1 s; every fifth attempt of `b` fails at first."""
    definition = loads(WORK).definition
    view = RunView(definition)
    known = {"workers": 4, **{name.replace("_", "."): value for name, value in limits.items()}}
    log: list[ev.Event] = [ev.RunStarted(0.0, "r", "w", "", {}, known)]
    for n in range(1, done + 1):
        task, at = str(n), 10.0 * n
        log += [
            ev.TaskOpened(at, task, {}),
            ev.StepStarted(at, task, "a", "a", 1, at),
            ev.StepSucceeded(at + 4, task, "a", 1, "x", ev.Usage(80, 20, usd=0.1)),
            ev.StepStarted(at + 4, task, "b", "b", 1, at + 4),
        ]
        again = 1 + (n % 5 == 0)
        if again == 2:
            log.append(ev.AttemptFailed(at + 4, task, "b", 1, Fault("server", "no")))
            log.append(ev.StepStarted(at + 4, task, "b", "b", 2, at + 4))
        log += [ev.StepSucceeded(at + 5, task, "b", again, "y"), ev.TaskEnded(at + 5, task, "done")]
    for seq, event in enumerate(log, 1):
        view.apply(seq, event)
    return snapshot_run(view, definition, tasks, calls)


def test_more_workers_are_sooner_done_until_something_else_binds() -> None:
    run = halfway()
    assert run.left == 90
    seconds, binds = predict_rest(run)
    assert seconds == pytest.approx(90 * 5 / 4, rel=0.05)
    assert binds == "limited by 4 workers"
    told = predict_change(run, "workers", 8)
    assert "ETA 1m55s → 60.0 s" in told
    assert "$9.00 to come" in told
    assert "limited by 8 workers" in told
    assert "limited by the critical path" in predict_change(run, "workers", 1000)
    assert "no new steps start" in predict_change(run, "workers", 0)


def test_a_rate_and_an_agents_own_limit_bind() -> None:
    run = halfway(p_requests="6/min")
    seconds, binds = predict_rest(run)
    assert seconds == pytest.approx(900.0)
    assert binds == "limited by p.requests"
    shared = halfway(p_requests="6/min", calls={"p.requests": 1.0, "q.requests": 3.0})
    assert predict_rest(shared)[0] == pytest.approx(225.0)
    assert "limited by 4 workers" in predict_change(run, "p.requests", "600/min")
    assert "limited by a, 1 at once" in predict_change(halfway(), "agents.a.max_parallel", 1)


def test_timeouts_attempts_and_budgets_are_told_by_what_has_been_seen() -> None:
    run = halfway()
    assert predict_change(run, "agents.a.timeout", 3.0) == "100% of the last 10 took longer and would be cut"
    assert "none would be cut" in predict_change(run, "agents.a.timeout", 5.0)
    assert "about 3% of steps fail for good" in predict_change(run, "agents.b.attempts", 2)
    assert predict_change(run, "budget.usd", 3.0) == "enough for about 20 tasks of the 90 that are left"
    assert predict_change(run, "budget.usd", 30.0) == "enough for all 90 tasks that are left"
    assert predict_change(halfway(tasks=10), "workers", 8) == "no work is left"


def test_items_of_each_are_counted_as_the_run_had_them() -> None:
    definition = loads(
        """
agentdeck: 1
name: w
inputs: { docs: list }
agents:
  read: { each: inputs.docs, simulate: 1s }
  tell: { needs: read, simulate: 1s }
"""
    ).definition
    view = RunView(definition)
    log: list[ev.Event] = [ev.RunStarted(0.0, "r", "w", "", {}, {"workers": 4})]
    for n in range(1, 3):
        task, at = str(n), 20.0 * n
        log += [ev.TaskOpened(at, task, {}), ev.StepExpanded(at, task, "read", 12)]
        for item in (f"read[{number}]" for number in range(12)):
            log += [ev.StepStarted(at, task, item, "read", 1, at), ev.StepSucceeded(at + 1, task, item, 1, "x")]
        log += [ev.StepStarted(at + 1, task, "tell", "tell", 1, at + 1)]
        log += [ev.StepSucceeded(at + 2, task, "tell", 1, "y"), ev.TaskEnded(at + 2, task, "done")]
    log.append(ev.TaskOpened(90.0, "3", {}))  # its items are not counted yet
    for seq, event in enumerate(log, 1):
        view.apply(seq, event)
    run = snapshot_run(view, definition, 12)
    assert run.items == {"read": 12.0}
    seconds, binds = predict_rest(run)
    assert seconds == pytest.approx(10 * 13 / 4, rel=0.15)  # ten tasks of 13 s of work, four at once
    assert binds == "limited by 4 workers"
