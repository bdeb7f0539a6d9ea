"""`retry: { on: … }`: the workflow's own rule says which failed attempts are worth another one."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from agentdeck import Context, Workflow
from agentdeck.engine import retry_rule
from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.retry_rule import FailedAttempt
from agentdeck.errors import StepError
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.check import check
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Retry, plain, restored
from tests.observing import EventCollector

pytestmark = pytest.mark.anyio
QUICK = {"delay": "1ms", "max_delay": "2ms"}


async def ended(made: Workflow, db: Path | None = None) -> tuple[Outcome, list[ev.Event], list[str]]:
    """How a run ended, its events, and its log lines."""
    seen = EventCollector()
    lines: list[str] = []
    launch = Launch(made.definition, Path(), functions=made.functions, db=db, wait=False)
    outcome = await run(launch, Watch([seen], lambda line: lines.append(line[-1])))
    return outcome, seen.events, lines


def faults(events: list[ev.Event]) -> list[tuple[str, bool | None]]:
    return [(e.fault.kind, e.fault.retry) for e in events if isinstance(e, ev.AttemptFailed)]


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "kind", "answer", "attempts"),
    [
        (ValueError("bad"), "exception", False, 1),
        (ValueError("bad"), "exception", True, 3),
        (StepError("rejected", "no"), "rejected", True, 3),
        (StepError("setup", "no"), "setup", False, 1),
        (StepError("rate_limit", "slower", retry_after=0.001), "rate_limit", False, 1),
    ],
)
async def test_the_answer_of_the_rule_comes_before_the_kind(
    error: Exception, kind: str, answer: bool, attempts: int
) -> None:
    seen: list[FailedAttempt] = []

    def rule(failed: FailedAttempt) -> bool:
        seen.append(failed)
        return answer

    made = Workflow("made")
    made.agent(raising(error), retry={**QUICK, "on": rule})
    outcome, events, _ = await ended(made)
    assert outcome.state == "failed"
    assert faults(events) == [(kind, answer)] * attempts
    assert [one.attempt for one in seen] == list(range(1, attempts + 1))
    assert (seen[0].task, seen[0].step, seen[0].agent, seen[0].kind) == ("1", "work", "work", kind)
    assert seen[0].exception is (None if isinstance(error, StepError) else error)


async def test_an_answer_that_does_not_fit_is_judged_too() -> None:
    made = Workflow("made")
    made.agent(lambda: {"n": 1}, name="a", expect="output.n > 1", retry={**QUICK, "on": lambda failed: False})
    _, events, _ = await ended(made)
    assert faults(events) == [("invalid", False)]


async def test_a_coroutine_may_be_the_rule() -> None:
    async def rule(failed: FailedAttempt) -> bool:
        return failed.attempt < 2

    made = Workflow("made")
    made.agent(raising(StepError("rejected", "no")), retry={**QUICK, "on": rule})
    assert faults((await ended(made))[1]) == [("rejected", True), ("rejected", False)]


async def test_a_rule_that_raises_is_logged_and_the_kind_decides() -> None:
    def rule(failed: FailedAttempt) -> bool:
        raise KeyError("what")

    made = Workflow("made")
    made.agent(raising(ValueError("bad")), retry={**QUICK, "attempts": 2, "on": rule})
    _, events, lines = await ended(made)
    assert faults(events) == [("exception", None)] * 2
    assert [line for line in lines if "retry rule" in line] == [
        "the retry rule tests.engine.test_retry_rule:test_a_rule_that_raises_is_logged_and_the_kind_decides."
        "<locals>.rule failed with KeyError: 'what'; the kind of the failure decides: exception"
    ] * 2


async def test_a_replay_of_the_log_reads_the_answer_and_asks_nobody(tmp_path: Path) -> None:
    asked: list[int] = []

    def rule(failed: FailedAttempt) -> bool:
        asked.append(failed.attempt)
        return failed.attempt < 2

    made = Workflow("made")
    made.agent(raising(StepError("rejected", "no")), retry={**QUICK, "on": rule})
    db = tmp_path / "runs.db"
    outcome, events, _ = await ended(made, db)
    assert asked == [1, 2]
    with closing(Reader(db)) as reader:
        recorded = [event for _, event in reader.events(outcome.run)]
    assert faults(recorded) == faults(events) == [("rejected", True), ("rejected", False)]
    assert asked == [1, 2]


@pytest.mark.parametrize("clock", ["attempt", "idle"])
@pytest.mark.parametrize("answer", [True, False])
async def test_a_timeout_is_judged_too(clock: str, answer: bool) -> None:
    seen: list[FailedAttempt] = []

    def rule(failed: FailedAttempt) -> bool:
        seen.append(failed)
        return answer

    made = Workflow("made")
    made.agent(anyio.sleep_forever, name="a", timeout={clock: "50ms"}, retry={**QUICK, "attempts": 2, "on": rule})
    outcome, events, _ = await ended(made)
    assert outcome.state == "failed"
    assert faults(events) == [("timeout", answer)] * (2 if answer else 1)
    assert [(one.kind, one.exception) for one in seen] == [("timeout", None)] * len(seen)
    assert {e.fault.clock for e in events if isinstance(e, ev.AttemptFailed)} == {clock}
    assert outcome.abandoned == 0


async def test_an_overdue_thread_is_left_behind_and_its_step_goes_on() -> None:
    release = threading.Event()

    def stuck(ctx: Context) -> int:
        if ctx.attempt == 1:
            release.wait(20)
        return ctx.attempt

    made = Workflow("made", output="${stuck}")
    made.agent(stuck, timeout="50ms", retry={**QUICK, "on": lambda failed: failed.kind == "timeout"})
    outcome, events, _ = await ended(made)
    release.set()
    assert outcome.state == "done"
    assert faults(events) == [("timeout", True)]


async def test_a_rule_that_never_answers_does_not_hold_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_rule, "PATIENCE", 0.05)
    release = threading.Event()
    made = Workflow("made")
    made.agent(
        raising(ValueError("bad")),
        retry={**QUICK, "attempts": 2, "on": lambda failed: release.wait(20)},
    )
    _, events, lines = await ended(made)
    release.set()
    assert faults(events) == [("exception", None)] * 2
    assert any("gave no answer within 0.05 s; the kind of the failure decides: exception" in one for one in lines)


async def test_a_step_that_is_cancelled_while_its_rule_thinks_stays_cancelled() -> None:
    asked, release = threading.Event(), threading.Event()

    def rule(failed: FailedAttempt) -> bool:
        asked.set()
        return release.wait(20)

    made = Workflow("made")
    made.agent(anyio.sleep_forever, name="a", timeout="20ms", retry={**QUICK, "on": rule})
    run = await made.start()
    await anyio.to_thread.run_sync(asked.wait, 20)
    await run.cancel()
    result = await run.result(check=False)
    release.set()
    assert result.state == "cancelled"


def test_rules_of_one_module_with_the_same_name_stay_apart() -> None:
    made = Workflow("made", defaults={"retry": {"on": lambda failed: True}})
    made.agent(lambda: None, name="a", retry={"on": lambda failed: False})
    made.agent(lambda: None, name="b")
    ons = [made.definition.agents[name].retry.on for name in "ab"]
    assert len(set(ons)) == 2
    assert [made.functions[str(on)](None) for on in ons] == [False, True]


def test_a_workflow_without_a_rule_keeps_its_identity() -> None:
    assert "on" not in plain(Retry())
    assert plain(Retry(on="m:f"))["on"] == "m:f"
    with_rule = Workflow("w")
    with_rule.add("a", simulate="1s", retry={"on": "m:f"})
    without = Workflow("w")
    without.add("a", simulate="1s", retry={"attempts": 3})
    assert with_rule.definition.identity != without.definition.identity
    assert restored(json.loads(json.dumps(plain(with_rule.definition)))) == with_rule.definition


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "rules_of_shop.py").write_text("def busy(failed): return True\nnumber = 7\n")
    yield tmp_path
    sys.modules.pop("rules_of_shop", None)


@pytest.mark.parametrize(
    ("on", "fault"),
    [
        ("rules_of_shop:busy", ""),
        ("rules_of_shop:bussy", "4:32: rules_of_shop has no bussy; did you mean busy?"),
        ("rules_of_shp:busy", "4:32: there is no module rules_of_shp"),
        ("rules_of_shop:number", "4:32: rules_of_shop:number is a number, not a function"),
        ("busy", "4:36: 'busy' is not module:name; write it like shop.tools:extract"),
    ],
)
def test_a_rule_of_a_file_is_checked(folder: Path, on: str, fault: str) -> None:
    file = folder / "w.yaml"
    file.write_text(f"agentdeck: 1\nname: w\nagents:\n  a: {{ simulate: 1ms, retry: {{ on: '{on}' }} }}\n")
    found = [str(issue) for issue in check(file)]
    assert (fault in found[0]) if fault else not found


async def test_a_rule_that_does_not_import_fails_the_step(folder: Path) -> None:
    file = folder / "w.yaml"
    file.write_text("agentdeck: 1\nname: w\nagents:\n  a: { simulate: 1ms, retry: { on: 'gone:rule' } }\n")
    seen = EventCollector()
    await run(Launch(load(file).definition, folder), Watch([seen]))
    assert faults(seen.events) == [("setup", None)]
