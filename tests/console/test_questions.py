"""The list of questions of all runs, and the form that answers one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, Select, Static

from agentdeck import Workflow
from agentdeck.agents.frameworks.framework import Asked, CallInput, Result
from agentdeck.console.app import DeckApp
from agentdeck.console.outline import OutlineView
from agentdeck.console.screens.answer import AnswerForm
from agentdeck.console.screens.questions import QuestionsScreen
from agentdeck.console.screens.run import RunScreen
from tests.agents.scripted import Script, write_scripted
from tests.console.conftest import until
from tests.plugin_packages import installed

pytestmark = pytest.mark.anyio

SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}, "urgent": {"type": "boolean"}, "note": {"type": "string"}},
    "required": ["amount", "urgent"],
}


@pytest.fixture(autouse=True)
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_scripted(tmp_path)
    with installed(tmp_path, monkeypatch):
        yield


def asking(name: str, *asked: Asked) -> Workflow:
    def play(given: CallInput) -> Iterator[Any]:
        yield from [Result(dict(given.answers))] if given.answers else asked

    made = Workflow(name)
    made.agent(Script(play), name="review", retry=1)
    return made


async def test_questions_of_all_runs_are_listed_and_answered_with_a_form_from_the_schema(tmp_path: Path) -> None:
    db = tmp_path / "deck.db"
    form_asked = Asked("q", "How much, [bold]Ada[/]?", SCHEMA, {"draft": "tea"})
    app = DeckApp(db)
    async with (
        asking("first", form_asked).start(db=db, wait=True) as first,
        asking("second", Asked("q", "What now?")).start(db=db, wait=True) as second,
        app.run_test(size=(120, 30)) as pilot,
    ):
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, QuestionsScreen) and app.screen.rows.count == 2)
        screen = app.screen
        assert isinstance(screen, QuestionsScreen)
        assert {screen.rows.row(at).text for at in range(2)} == {"How much, [bold]Ada[/]?", "What now?"}
        while screen.question is None or screen.question.run != first.id:
            await pilot.press("down")
        page = [item.text for item in screen.query_one(OutlineView).items]
        assert "How much, [bold]Ada[/]?" in page
        assert f"agentdeck answer {first.id} review amount=… urgent=… --task 1" in page

        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AnswerForm))
        form = app.screen
        await until(pilot, lambda: any("tea" in item.text for item in form.query_one(OutlineView).items))
        assert not form.query("#reject"), "a question is answered, not rejected"
        await pilot.press("ctrl+y")
        assert "amount is required" in str(form.query_one("#note-field-0", Static).render())
        form.query(Input).first().value = "3"
        form.query_one(Select).value = "true"
        await pilot.press("ctrl+y")
        await until(pilot, lambda: app.screen is screen)
        assert (await first.result()).output == {"q": {"amount": 3, "urgent": True}}

        await until(pilot, lambda: screen.rows.count == 1)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        run = app.screen
        assert isinstance(run, RunScreen)
        await until(pilot, lambda: bool(run.view.open))
        assert run.view.open["1"].display_state == "asking"
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AnswerForm))
        app.screen.query_one(Input).value = "shorter"
        await pilot.press("ctrl+y")
        assert (await second.result()).output == {"q": "shorter"}


async def test_without_questions_the_list_says_so(tmp_path: Path) -> None:
    app = DeckApp(tmp_path / "deck.db")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, QuestionsScreen))
        await pilot.press("a", "o", "enter")
        assert isinstance(app.screen, QuestionsScreen)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, QuestionsScreen))
