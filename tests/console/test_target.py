"""What is highlighted is what a key acts on, escape goes up one level, and nothing that was typed is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input, Static

from agentdeck.console.app import DeckApp
from agentdeck.console.form_fields import TextEntry
from agentdeck.console.pane import Selection
from agentdeck.console.row_list import RowList
from agentdeck.console.screens.answer import AnswerForm
from agentdeck.console.screens.deck import DeckScreen
from agentdeck.console.screens.dialogs import Confirm, TextDialog
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.status_lines import Tabs
from agentdeck.engine.launch import Outcome
from agentdeck.insight.attention import attention_items
from agentdeck.operations import engine_process
from agentdeck.operations.engine_process import LaunchRequest
from tests.console.conftest import until

pytestmark = pytest.mark.anyio

SLOW = """
agentdeck: 1
name: slow
budget: { usd: 1 }
inputs:
  id: { type: string }
agents:
  read: { simulate: { takes: 2ms } }
  work: { needs: read, simulate: 60s }
"""


@asynccontextmanager
async def slow(folder: Path, tasks: int) -> AsyncIterator[tuple[Pilot[None], RunScreen]]:
    """A run of so many tasks of which four are open; killed in the end."""
    (folder / "w.yaml").write_text(SLOW, encoding="utf-8")
    rows = folder / "t.jsonl"
    rows.write_text("".join(json.dumps({"id": str(n)}) + "\n" for n in range(tasks)), encoding="utf-8")
    app = DeckApp(folder / "deck.db")
    async with app.run_test(size=(80, 24)) as pilot:
        app.start(lambda: engine_process.launch(app.db, folder / "w.yaml", LaunchRequest(tasks=rows, workers=3)))
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        try:
            await until(pilot, lambda: screen.panes.ready and len(screen.view.running) == 3)
            await until(pilot, lambda: screen.panes.graph.has_focus)
            yield pilot, screen
        finally:
            for engine in app.engines.values():
                if engine.ended is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(engine.pid, signal.SIGKILL)


async def question(pilot: Pilot[None]) -> str:
    await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
    asked = pilot.app.screen
    assert isinstance(asked, Confirm)
    await pilot.press("escape")
    return "\n".join((asked.title_text, *asked.touches))


def named(screen: RunScreen) -> str:
    return screen.query_one(Tabs).render_line(0).text.rstrip().rpartition("  ")[2]


async def test_a_key_acts_on_the_highlighted_task_though_nothing_was_walked_to(tmp_path: Path) -> None:
    async with slow(tmp_path, 30) as (pilot, screen):
        await pilot.press("3")
        await until(pilot, lambda: screen.panes.tasks.has_focus and screen.panes.target.task == "1")
        await pilot.press("c")
        assert (await question(pilot)).startswith("Cancel task 1?")
        await until(pilot, lambda: named(screen) == "task 1")
        await pilot.press("down", "H")
        await until(pilot, lambda: any(moment.kind == "hurried" for moment in screen.view.timeline))
        assert [moment.task for moment in screen.view.timeline if moment.kind == "hurried"] == ["2"]
        await pilot.press("c")
        assert (await question(pilot)).startswith("Cancel task 2?")


async def test_a_key_acts_on_the_highlighted_agent_step_and_line(tmp_path: Path) -> None:
    async with slow(tmp_path, 30) as (pilot, screen):
        await pilot.press("2")
        await until(pilot, lambda: screen.panes.agents.has_focus)
        await pilot.press("c")
        assert (await question(pilot)).startswith("Cancel read in every open task?")
        screen.panes.select(Selection(task="2"))
        await pilot.press("4")
        timeline = screen.panes.timeline
        await until(pilot, lambda: timeline.has_focus and timeline._names == ["read", "work"])
        assert screen.panes.target == Selection("read", "2", "read")
        await pilot.press("down", "c")
        told = await question(pilot)
        assert told.startswith("Cancel work?")
        assert "step work of task 2" in told


async def test_an_approval_inside_a_sub_workflow_is_found_and_answered(tmp_path: Path) -> None:
    sign = 'agentdeck: 1\nname: sign\nagents: { sign: { approve: { ask: "Go?" } } }\n'
    (tmp_path / "sign.yaml").write_text(sign, encoding="utf-8")
    (tmp_path / "w.yaml").write_text(
        "agentdeck: 1\nname: w\nagents: { check: { workflow: sign.yaml } }\n", encoding="utf-8"
    )
    app = DeckApp(tmp_path / "deck.db")
    async with app.run_test(size=(80, 24)) as pilot:
        app.start(lambda: engine_process.launch(app.db, tmp_path / "w.yaml", LaunchRequest()))
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: screen.panes.ready and list(attention_items(screen.view, 0.0)) != [])
        await pilot.press("exclamation_mark")
        assert screen.panes.target == Selection("check/sign", "1/check", "sign")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AnswerForm))
        await pilot.press("ctrl+y")
        await until(pilot, lambda: screen.view.state == "done")


async def test_cancelling_from_the_history_counts_tasks_that_were_not_opened_yet(tmp_path: Path) -> None:
    async with slow(tmp_path, 30) as (pilot, screen):
        history = HistoryScreen()
        screen.app.push_screen(history)
        await until(pilot, lambda: any(one.rows for one in history.query(RowList)))
        await pilot.press("X")
        assert "30 tasks of slow will not be executed" in await question(pilot)


async def test_panes_that_were_not_seen_yet_open_on_what_is_selected(tmp_path: Path) -> None:
    async with slow(tmp_path, 30) as (pilot, screen):
        screen.panes.select(Selection("work", "3", "work"))
        for key in "234":
            await pilot.press(key)
            pane = screen.panes[screen.panes.active]
            await until(pilot, lambda pane=pane: pane.has_focus)  # type: ignore[misc]
            assert screen.panes.target.task == "3", key
            assert key == "3" or screen.panes.target.step == "work", key


async def test_a_verb_with_its_argument_acts_on_that_and_not_on_the_row(tmp_path: Path) -> None:
    async with slow(tmp_path, 30) as (pilot, screen):
        await pilot.press("3")
        await until(pilot, lambda: screen.panes.tasks.has_focus)
        await pilot.press("slash", *"1 ", "enter")  # the filter hides every task but the first
        found = {one.title: one for one in screen.typed("cancel 3")}
        found["cancel 3"].do()
        assert (await question(pilot)).startswith("Cancel task 3?")


async def test_cancelling_the_run_counts_tasks_that_were_not_opened_yet(tmp_path: Path) -> None:
    async with slow(tmp_path, 30) as (pilot, screen):
        assert screen.view.tasks.opened < 30
        await pilot.press("c")
        await pilot.pause()
        assert pilot.app.screen is screen  # nothing is highlighted: X cancels the run, c does not
        await pilot.press("X")
        assert "30 tasks will not be executed" in await question(pilot)


async def test_digits_switch_panes_in_the_limits_too_unless_a_field_is_open(tmp_path: Path) -> None:
    async with slow(tmp_path, 5) as (pilot, screen):
        await pilot.press("t")
        limits = screen.panes.limits
        await until(pilot, lambda: limits.has_focus)
        await pilot.press("1")
        await until(pilot, lambda: screen.panes.graph.has_focus)
        assert not limits.editing
        await pilot.press("t")
        await until(pilot, lambda: limits.has_focus)
        await pilot.press("enter", "4")
        screen.frame()
        assert limits.editing
        assert " 1 graph" not in screen.query_one(Tabs).render_line(0).text
        await pilot.press("enter")
        await until(pilot, lambda: screen.view.workers == 4)


async def test_escape_goes_up_one_level_at_a_time(tmp_path: Path) -> None:
    async with slow(tmp_path, 5) as (pilot, screen):
        await pilot.press("3")
        await until(pilot, lambda: screen.panes.tasks.has_focus)
        await until(pilot, lambda: screen.panes.selection == Selection(task="1"))
        await pilot.press("z", "escape")
        assert not screen.panes.zoomed
        assert screen.panes.active == "tasks"
        await pilot.press("escape")
        await until(pilot, lambda: screen.panes.graph.has_focus)
        assert screen.panes.selection == Selection(task="1")
        await pilot.press("escape")
        assert screen.panes.selection == Selection()
        assert pilot.app.screen is screen
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, DeckScreen))


async def test_a_budget_that_is_refused_stays_with_the_reason(tmp_path: Path) -> None:
    async with slow(tmp_path, 5) as (pilot, screen):

        def asked() -> tuple[str, str]:
            here = pilot.app.screen
            if not isinstance(here, TextDialog) or not here.query("#fault"):
                return "", ""  # it is not open, or not composed yet
            return here.query_one(Input).value, str(here.query_one("#fault", Static).render())

        await pilot.press("B")
        await until(
            pilot, lambda: isinstance(pilot.app.screen, TextDialog) and bool(pilot.app.screen.query(Input))
        )
        await pilot.press(*"0,40", "enter")
        assert asked() == ("0,40", "✗ '0,40' is not an amount; write dollars like 0.40")
        await pilot.press("ctrl+u", *"+5k tokens", "enter")  # only the owner of the run knows that there is none
        await until(pilot, lambda: "there is no budget in tokens" in asked()[1])
        assert asked()[0] == "+5k tokens"
        await pilot.press("ctrl+u", *"2.50", "enter")
        await until(pilot, lambda: screen.view.limits.get("budget.usd") == 2.5)


async def test_retry_with_a_wrong_input_stays_with_the_reason(recorded: tuple[Path, Outcome]) -> None:
    app = DeckApp(recorded[0], run=recorded[1].run)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app.screen, LettersScreen) and bool(app.screen.letters))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, TextDialog) and bool(app.screen.query(Input)))
        await pilot.press(*"idd=A-9", "enter")
        assert "did you mean id?" in str(app.screen.query_one("#fault", Static).render())
        assert app.screen.query_one(Input).value == "idd=A-9"
        await pilot.press(*("backspace",) * 7, *"A-9", "enter")
        assert "write it as name=value" in str(app.screen.query_one("#fault", Static).render())


async def test_a_paste_of_several_lines_is_refused_and_of_one_is_taken(recorded: tuple[Path, Outcome]) -> None:
    app = DeckApp(recorded[0])
    async with app.run_test(size=(80, 24)) as pilot:
        field = TextEntry("kept")
        await app.screen.mount(field)
        field.focus()
        await pilot.pause()
        field.post_message(Paste("one\ntwo\nthree"))
        await until(pilot, lambda: bool(app._notifications))
        assert "it has 3 lines" in next(iter(app._notifications)).message
        assert field.value == "kept"
        field.post_message(Paste(" more\n"))
        await until(pilot, lambda: field.value == " more")
