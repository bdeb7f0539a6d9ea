"""States of agents that wait for an answer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agentdeck.agents.checkpoints import beside, sweep
from agentdeck.agents.frameworks import saved_state
from agentdeck.agents.frameworks.framework import CallInput
from tests.agents.frameworks import killed

pytestmark = pytest.mark.anyio


def given(db: Path, thread: str = "r1/1/a/1-x", *, answered: bool = True) -> CallInput:
    return CallInput({}, thread=thread, checkpoints=str(beside(db)), answers={"q": 1} if answered else {})


async def test_a_state_is_replaced_and_forgotten(tmp_path: Path) -> None:
    work = given(tmp_path / "a.db")
    assert await saved_state.answered(work) == ""
    for state in ("one", "two"):
        await saved_state.save(work, state)
    assert await saved_state.answered(work) == "two"
    assert beside(tmp_path / "a.db").stat().st_mode & 0o777 == 0o600, "only its owner reads it"
    assert await saved_state.answered(given(tmp_path / "a.db", answered=False)) == "", "it begins anew"
    assert await saved_state.load(given(tmp_path / "a.db", answered=False)) == "two"


async def test_the_state_of_work_that_ended_is_there_until_its_result_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = given(tmp_path / "a.db")
    await saved_state.save(work, "one")
    await saved_state.drop(work)
    assert await saved_state.answered(work) == "one"
    with pytest.raises(LookupError):
        await saved_state.load(given(tmp_path / "a.db", answered=False))
    monkeypatch.setattr(saved_state, "KEEP", -1)
    await saved_state.save(given(tmp_path / "a.db", "other"), "x")
    assert await saved_state.answered(work) == ""


async def test_states_of_runs_that_are_gone_are_swept(tmp_path: Path) -> None:
    for run in ("r1", "r2"):
        await saved_state.save(given(tmp_path / "a.db", f"{run}/1/a/1-x"), "one")
    assert sweep(tmp_path / "a.db", lambda: {"r2"}) == 1
    with sqlite3.connect(beside(tmp_path / "a.db")) as file:
        assert file.execute("select thread from agentdeck_states").fetchall() == [("r2/1/a/1-x",)]


async def test_an_agent_whose_state_is_lost_begins_anew(tmp_path: Path) -> None:
    """It asks again, and goes on with the second answer."""
    db, asked = tmp_path / "a.db", list[str]()

    def answers(question: object) -> bool:
        asked.append("?")
        if len(asked) == 1:
            beside(db).unlink()
        return True

    target = "tests.agents.frameworks.test_agent_framework:cashier"
    result = await killed.workflow(target).run(db=db, answers=answers)
    assert (result.output, len(asked), killed.effects()) == ("done", 2, ["pay"])
