"""The letters screen offers the two ways to decide a `once` step that may have taken effect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Input

from agentdeck.console.app import DeckApp
from agentdeck.console.screens.dialogs import Confirm, TextDialog
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.engine.launch import Launch, run
from agentdeck.scheduler import events as ev
from agentdeck.store.letters import Letter
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import load
from tests.console.conftest import until

pytestmark = pytest.mark.anyio

#: The first attempt is cancelled by its clock; the second one finds the key of the first.
PAY = """
agentdeck: 1
name: pays
defaults: { retry: { attempts: 2, delay: 1ms } }
agents:
  pay:
    once: "pay-17"
    command: [sh, -c, "echo pay >> effects; test -e ok || sleep 30; echo 5"]
    timeout: 500ms
"""


@pytest.mark.parametrize("choice", ["t", "a"])
async def test_a_letter_that_may_have_taken_effect_is_decided_there(tmp_path: Path, choice: str) -> None:
    (tmp_path / "pays.yaml").write_text(PAY)
    db = tmp_path / "deck.db"
    source = {"file": str(tmp_path / "pays.yaml")}
    launch = Launch(load(tmp_path / "pays.yaml").definition, tmp_path, db=db, source=source)
    assert (await run(launch)).state == "failed"
    (tmp_path / "ok").touch()
    app = DeckApp(db)
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.pause()
        app.push_screen(LettersScreen())
        await until(pilot, lambda: isinstance(app.screen, LettersScreen) and bool(app.screen.letters))
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        asked = app.screen
        assert isinstance(asked, Confirm)
        assert any("pay-17" in line for line in asked.touches)
        await pilot.press(choice)
        if choice == "t":
            await until(pilot, lambda: isinstance(app.screen, TextDialog))
            app.screen.query_one(Input).value = json.dumps({"receipt": 9})
            await pilot.press("enter")
        await until(pilot, lambda: letter(db).state == "closed", 30)
    paid = (tmp_path / "effects").read_text().splitlines()
    assert paid == (["pay"] if choice == "t" else ["pay", "pay"])
    assert output(db) == ({"receipt": 9} if choice == "t" else 5)


def letter(db: Path) -> Letter:
    reader = Reader(db)
    (found,) = reader.letters()
    reader.close()
    return found


def output(db: Path) -> object:
    reader = Reader(db)
    events = [event for _, event in reader.events(reader.runs(1)[0].run)]
    reader.close()
    return next(event.output for event in events if isinstance(event, ev.StepSucceeded))
