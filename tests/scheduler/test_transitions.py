"""The table of transitions: complete, exact, checked by the fold, and printed in the documentation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler import transitions
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.state import DEFERRED, READY
from agentdeck.scheduler.transitions import STEPS, UNCHANGED, UNRECORDED, InvalidTransition
from agentdeck.workflow.model import Agent
from tests.scheduler.driver import Player, agent, definition
from tests.scheduler.graphs import Action, actions, graphs, nested, operate, random_plan, randoms

DOCS = Path(__file__).resolve().parents[2] / "docs" / "scheduler.md"


def test_every_event_is_in_the_table() -> None:
    known = {row.event for row in (*STEPS, *transitions.TASKS, *transitions.RUN)} | transitions.OTHERS.keys()
    assert known == set(get_args(ev.Event))
    of_steps = {kind for kind in get_args(ev.Event) if "step" in kind._fields} - {ev.Noted}
    assert of_steps <= {row.event for row in STEPS}


def test_the_documentation_contains_what_is_printed() -> None:
    command = [sys.executable, "-m", "agentdeck.scheduler"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == transitions.as_markdown()
    assert printed in DOCS.read_text()


@pytest.mark.parametrize(
    "event",
    [
        ev.StepStarted(1.0, "1", "b", "b", 1, 0.0),
        ev.StepSucceeded(1.0, "1", "b", 1),  # of a waiting step only where a fork shares its result
        ev.AttemptFailed(1.0, "1", "a", 1, Fault("exception", "no")),
        ev.StepRetrying(1.0, "1", "a", 2.0),
        ev.StepReleased(1.0, "1", "a"),
        ev.StepAnswered(1.0, "1", "a", True, {}),
        ev.StepDone(1.0, "1", "a"),
        ev.StepReopened(1.0, "1", "a", "", None, "", {"a": "ready"}),
    ],
)
def test_an_event_that_the_table_does_not_allow_is_refused(event: ev.Event) -> None:
    fold = Fold(Program(definition(agent("a"), agent("b", "a"))))
    fold.apply(ev.TaskOpened(0.0, "1", {}))
    if isinstance(event, ev.StepSucceeded):
        fold.apply(event)
        with pytest.raises(InvalidTransition, match="StepSucceeded moved done to done"):
            fold.apply(event)
        return
    with pytest.raises(InvalidTransition, match=type(event).__name__):
        fold.apply(event)


def test_nothing_is_checked_where_validation_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "VALIDATE", False)
    fold = Fold(Program(definition(agent("a"))))
    fold.apply(ev.TaskOpened(0.0, "1", {}))
    fold.apply(ev.StepRetrying(1.0, "1", "a", 2.0))
    assert fold.state.step("1", "a").state == "held"


def test_a_deferral_ends_without_a_record() -> None:
    player = Player(definition(agent("a")), plan=lambda started: (5.0, None))
    player.send(ev.AttemptDeferred(1.0, "1", "a", 1, "once"))
    assert player.scheduler.state.step("1", "a").state == DEFERRED
    seq = player.scheduler.state.seq
    player.scheduler.state.workers = 0  # of the test: nothing may start
    player.send(ev.DeferralEnded(2.0, "1", "a", 1))
    assert player.scheduler.state.step("1", "a").state == READY
    assert player.scheduler.state.seq == seq


class Observed:
    """The moves of steps that were seen, by event."""

    def __init__(self) -> None:
        self.moves: set[tuple[type, str, str]] = set()

    def validated(self, kind: type, handler: Callable[..., None], state: object) -> Callable[..., None]:
        checked = VALIDATED(kind, handler, state)  # type: ignore[arg-type]

        def apply(event: ev.Event) -> None:
            before = transitions._states(state, event)  # type: ignore[arg-type]
            checked(event)
            after = transitions._states(state, event)  # type: ignore[arg-type]
            self.moves |= {(kind, was, after[step]) for step, was in before.items()}

        return apply


VALIDATED = transitions.validated


@pytest.mark.untraced
def test_random_runs_make_only_moves_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """And most of what the table allows is seen: it allows little that does not happen."""
    seen = Observed()
    monkeypatch.setattr(transitions, "validated", seen.validated)
    rows = {row.event: row for row in STEPS}

    @settings(max_examples=3 * settings().max_examples)  # some moves are rare
    @given(agents=graphs(), tasks=st.integers(1, 4), acts=actions(), random=randoms())
    def play(agents: list[Agent], tasks: int, acts: list[Action], random: Random) -> None:
        plan = random_plan(random)
        player = Player(definition(*agents), workers=3, tasks=tasks, plan=plan, nested=nested(agents))
        operate(player, acts, agents)
        player.play(20_000)
        player.retry(*sorted(player.ended_at)[:4], *sorted(player.letters)[:3]).play(20_000)

    play()
    for kind, before, after in seen.moves:
        if kind in rows:
            row = rows[kind]
            assert before in row.before
            assert after in row.after or (before == after and UNCHANGED in row.after)
        else:
            assert before == after, kind
    ends = {(kind, after) for kind, _, after in seen.moves if kind in rows}
    never = {ev.TaskOpened, ev.ReservationGrew, ev.StepWaited, ev.AttemptLost, ev.AttemptDeferred}
    allowed = {(row.event, after) for row in STEPS for after in row.after if row.event not in never}
    same = {(row.event, UNCHANGED) for row in STEPS if UNCHANGED in row.after}
    assert allowed - same <= ends


def test_what_is_not_recorded_moves_a_step_to_ready() -> None:
    assert {row.after for row in UNRECORDED} == {(READY,)}
