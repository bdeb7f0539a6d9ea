"""Each verb, typed on the run screen, and what an engine in a process of its own makes of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from agentdeck.console.app import DeckApp
from agentdeck.console.palette import Palette
from agentdeck.console.pane import PaneName, Selection
from agentdeck.console.screens.answer import AnswerForm
from agentdeck.console.screens.dialogs import LiveSentence, TextDialog
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.status_lines import Notice
from agentdeck.console.step_detail import StepDetail
from agentdeck.engine.launch import Outcome
from agentdeck.operations import engine_process
from agentdeck.store.reader import Reader
from agentdeck.views.step_story import StepStory
from tests.console.conftest import newest, until
from tests.console.steered import steered

pytestmark = pytest.mark.anyio

#: Nothing ends by itself: `slow` runs for a minute, `sign` asks, `pack` waits for two of two unless released.
SHIP = """
agentdeck: 1
name: ship
inputs:
  id: { type: string, default: A-1 }
agents:
  read: { simulate: { takes: 2ms, says: ["order ${inputs.id}"], returns: { id: "${inputs.id}" } } }
  slow: { needs: read, simulate: 60s }
  sign: { needs: read, approve: { ask: "Ship ${inputs.id}?", show: "${read}", fields: { boxes: integer } } }
  pack: { needs: [read, slow], join: { quorum: 2, min: 1, within: 1h }, simulate: { takes: 2ms, returns: 1 } }
  tell: { needs: [slow, sign], simulate: { takes: 2ms, returns: 1 } }
"""


async def test_a_step_is_skipped_a_join_released_and_the_approval_answered_with_its_form(tmp_path: Path) -> None:
    async with steered(tmp_path, SHIP) as deck:
        pilot = deck.pilot
        await deck.until(lambda: deck.state("slow") == "running" and deck.state("sign") == "running")

        deck.select("pack", "1", "pack")
        await pilot.press("J")
        assert "1 of 2 arrived; without: slow" in await deck.question()
        await pilot.press("y")
        await deck.until(lambda: deck.state("pack") == "done")

        deck.select("slow", "1", "slow")
        await pilot.press("S")
        told = await deck.question()
        assert "task 1 continues without slow" in told
        assert "attempt 1 has been running for" in told
        assert "pack, tell will no longer wait for it" in told
        await pilot.press("escape")
        await deck.back()
        assert deck.state("slow") == "running"
        await pilot.press("S")
        await deck.question()
        await pilot.press("y")
        await deck.until(lambda: deck.state("slow") == "skipped")

        await pilot.press("a")
        await deck.until(lambda: isinstance(deck.app.screen, AnswerForm))
        form = deck.app.screen
        assert isinstance(form, AnswerForm)
        await deck.until(lambda: any("Ship A-1?" in item.text for item in form.sheet.items))
        note = form.query_one("#note-field-0", Static)
        await pilot.press("ctrl+y")
        assert note.display
        assert "boxes is required" in str(note.render())
        await pilot.press(*"many", "ctrl+y")
        assert form.query_one("#note-field-0").display
        field = form.query_one(Input)
        field.value = ""
        await pilot.press("3", "ctrl+y")
        await deck.until(lambda: deck.screen.view.state == "done")
        reader = Reader(deck.db)
        answers = list(reader.of_kind(deck.screen.run, "step_answered"))
        reader.close()
        assert [(e.approved, e.fields, e.how) for e in answers] == [(True, {"boxes": 3}, "person")]
        author = answers[0].author
        assert (author.tool, author.text) == ("console", answers[0].who)
        moments = [m.text for m in deck.screen.view.timeline if m.kind == "answered"]
        assert moments == [f"approved by {author.text}"]


async def test_tasks_are_hurried_and_cancelled_steps_too_and_an_agent_is_held(tmp_path: Path) -> None:
    async with steered(tmp_path, SHIP, tasks=3) as deck:
        pilot, view = deck.pilot, deck.screen.view
        await deck.until(lambda: all(deck.state("slow", str(n)) == "running" for n in (1, 2, 3)))
        await pilot.press("H")  # no task is selected: nothing is asked for
        deck.select(task="2")
        await pilot.press("H")
        await deck.until(lambda: any(m.kind == "hurried" and m.task == "2" for m in view.timeline))

        deck.select("sign", "2", "sign")
        await pilot.press("c")
        assert "step sign of task 2" in await deck.question()
        await pilot.press("y")
        await deck.until(lambda: deck.state("sign", "2") == "cancelled")

        deck.select(task="3")
        await pilot.press("c")
        assert "2 running steps will be stopped" in await deck.question()
        await pilot.press("y")
        await deck.until(lambda: view.tasks.cancelled == 1)

        deck.select("slow")
        await pilot.press("P")
        await deck.until(lambda: view.limits.get("agents.slow.max_parallel") == 0)
        await pilot.press("P")
        await deck.until(lambda: view.limits["agents.slow.max_parallel"] is None)

        await pilot.press("c")
        assert "2 steps of slow will be stopped" in await deck.question()
        await pilot.press("y")
        await deck.until(lambda: deck.state("slow", "1") == "cancelled")

        await pilot.press("X")
        assert "a cancelled run cannot be resumed" in await deck.question()
        await pilot.press("y")
        await deck.until(lambda: view.state == "cancelled")


async def test_why_and_the_whole_story_of_a_step_that_runs(tmp_path: Path) -> None:
    async with steered(tmp_path, SHIP) as deck:
        pilot = deck.pilot
        await deck.until(lambda: deck.state("slow") == "running" and deck.state("sign") == "running")
        deck.select("tell")
        await pilot.press("w")
        await deck.until(lambda: isinstance(deck.app.screen, LiveSentence))
        sentence = deck.app.screen
        assert isinstance(sentence, LiveSentence)
        await deck.until(lambda: "waits for slow (running for" in str(sentence.text.render()))
        await pilot.press("enter")
        await deck.until(lambda: isinstance(deck.app.screen, StepDetail))
        await pilot.press("escape")
        await deck.back()

        await pilot.press("exclamation_mark")
        await deck.until(lambda: deck.screen.panes.selection == Selection("sign", "1", "sign"))
        wanted = "1 of 1: sign of task 1 waits for an approval"
        await deck.until(lambda: wanted in deck.screen.query_one(Notice).render_line(0).text)


FAILS = """
agentdeck: 1
name: fails
inputs:
  id: { type: string, default: A-1 }
agents:
  read: { simulate: { takes: 2ms, returns: 1 } }
  pay: { needs: read, retry: 1, command: [test, -e, "${inputs.id}"] }
  tell: { needs: pay, simulate: { takes: 2ms, returns: 1 } }
  last: { needs: read, simulate: TAKES }
"""


async def test_what_failed_goes_again_while_the_run_executes(tmp_path: Path) -> None:
    async with steered(tmp_path, FAILS.replace("TAKES", "60s"), tasks=2) as deck:
        pilot, view = deck.pilot, deck.screen.view
        await deck.until(lambda: view.letters == 2)
        (tmp_path / "A-1").touch()
        deck.select("pay", "1", "pay")
        await pilot.press("R")
        told = await deck.question()
        assert "pay of task 1: 1 step of 1 task, then tell" in told
        assert "what failed of pay: 2 steps of 2 tasks, then tell" in told
        assert "its process will do this" in told
        await pilot.press("1")
        await deck.until(lambda: deck.state("tell") == "done")
        assert view.letters == 1
        assert deck.state("pay", "2") == "failed"


async def test_a_run_that_is_over_is_taken_up_by_an_engine_of_its_own(tmp_path: Path) -> None:
    async with steered(tmp_path, FAILS.replace("TAKES", "2ms"), tasks=2) as deck:
        pilot, view = deck.pilot, deck.screen.view
        await deck.until(lambda: view.state == "failed")
        (tmp_path / "A-1").touch()
        (tmp_path / "A-2").touch()
        first = deck.app.engines[deck.screen.run]
        await deck.until(lambda: first.ended is not None)
        await pilot.press("R")
        assert "a new process will do this" in await deck.question()
        await pilot.press("1")
        await deck.until(lambda: view.state == "done")
        assert deck.app.engines[deck.screen.run] is not first
        assert (view.tasks.done, view.letters) == (2, 0)

        deck.select("pay", "2")
        await pilot.press("R")
        told = await deck.question()
        assert "pay and all after it in task 2: 1 step of 1 task, then tell" in told
        await pilot.press("1")
        await deck.until(lambda: view.agents["pay"].attempts == 5)


BUDGETED = """
agentdeck: 1
name: budgeted
budget: { tokens: 700 }
inputs: { id: string }
agents: { a: { prompt: "Say something about ${inputs.id}.", max_output: 100 } }
"""


async def test_a_budget_is_granted_and_the_run_goes_on(tmp_path: Path) -> None:
    async with steered(tmp_path, BUDGETED, tasks=12) as deck:
        pilot, view = deck.pilot, deck.screen.view
        await deck.until(lambda: view.state == "paused")
        await pilot.press("B")
        await deck.until(lambda: isinstance(deck.app.screen, TextDialog))
        await pilot.press(*"+100k tokens", "enter")
        await deck.until(lambda: view.state == "done")
        assert view.limits["budget.tokens"] == 100_700


PROVIDERS = """
agentdeck: 1
providers: { p: { type: simulated, limits: { requests: 2/h, concurrent: 4 } } }
models: { m: { provider: p, id: m } }
tiers: { execution: m }
"""
TALK = """
agentdeck: 1
name: talk
inputs: { id: string }
agents: { a: { prompt: "Say something about ${inputs.id}." } }
"""


async def test_a_providers_limit_shows_its_use_and_is_turned(tmp_path: Path) -> None:
    async with steered(tmp_path, TALK, tasks=5, deck=PROVIDERS) as deck:
        pilot, view = deck.pilot, deck.screen.view
        pane = deck.screen.panes.limits

        def line() -> str:
            texts = ("".join(text for text, _ in pane.draw(y, 130).pieces) for y in range(pane.size.height))
            return next((text for text in texts if " p.requests" in text), "")

        await deck.until(lambda: "2/2" in line() and view.tasks.done == 2)
        await deck.until(lambda: " 3 " in line())  # who waits
        await pilot.press("t")
        await deck.until(lambda: pane.has_focus)
        pane.move_to_key("p.requests")
        await pilot.press("enter", *"600/min", "space", *"burst", "space", "9")
        await deck.until(lambda: "ETA" in line())
        await pilot.press("enter")
        await deck.until(lambda: view.state == "done")
        assert view.limits["p.requests"] == "600/min burst 9"
        await deck.until(lambda: "applied #" in line())


async def test_verbs_are_typed_with_their_arguments(tmp_path: Path) -> None:
    async with steered(tmp_path, SHIP, tasks=2) as deck:
        pilot, view = deck.pilot, deck.screen.view
        await deck.until(lambda: deck.state("slow", "2") == "running")

        async def type_(text: str) -> None:
            titles = [found.title for found in deck.screen.typed(text)]
            assert titles, text
            await pilot.press("colon")
            await deck.until(lambda: isinstance(deck.app.screen, Palette))
            deck.app.screen.query_one(Input).value = text
            await pilot.press("enter")
            await deck.until(lambda: not isinstance(deck.app.screen, Palette))

        await type_("workers 3")
        await deck.until(lambda: view.workers == 3)
        await type_("hurry 2")
        await deck.until(lambda: any(m.kind == "hurried" and m.task == "2" for m in view.timeline))
        await type_("skip 2/slow")
        assert "task 2 continues without slow" in await deck.question()
        await pilot.press("y")
        await deck.until(lambda: deck.state("slow", "2") == "skipped")


async def test_every_pane_opens_the_story_of_a_step_of_a_recorded_run(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    app = DeckApp(db, run=newest(db))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: screen.view.state == "failed")

        async def story(*keys: str) -> StepStory:
            await pilot.press(*keys)
            await until(pilot, lambda: isinstance(app.screen, StepDetail) and app.screen.story is not None)
            detail = app.screen
            assert isinstance(detail, StepDetail)
            assert detail.story is not None
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is not detail)
            return detail.story

        async def at(pane: PaneName, key: str) -> None:
            await pilot.press(key)
            widget = screen.panes[pane]
            await until(pilot, lambda: widget.has_focus or widget.has_focus_within)

        await at("agents", "2")
        screen.panes.agents.move_to_key("pay")
        assert (await story("enter")).fault is not None  # of no task: the one that failed says most
        screen.panes.select(Selection(task="3"))
        assert (await story("enter")).task == "3"
        await at("graph", "1")
        screen.panes.select(Selection("pick", "1"))
        assert (await story("enter")).output == {"shelf": "north"}
        await at("tasks", "3")
        screen.panes.select(Selection(task="2"))
        await pilot.press("enter")
        await until(pilot, lambda: screen.panes.active == "timeline")
        timeline = screen.panes.timeline
        await until(pilot, lambda: timeline.has_focus and len(timeline._rows) > 2)
        assert (await story("down", "enter")).task == "2"
        await at("log", "5")
        screen.panes.select(Selection("read"))
        await until(pilot, lambda: len(screen.panes.tiles.following.body.rows) == 3)
        assert (await story("home", "o")).step == "read"
        await at("graph", "1")
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app.screen, LettersScreen) and app.screen.letter is not None)
        assert (await story("o")).step == "pay"
    assert outcome.run == screen.run


async def test_a_run_that_cannot_be_taken_up_says_why(tmp_path: Path) -> None:
    text = FAILS.replace("TAKES", "2ms")
    async with steered(tmp_path, text, tasks=1) as deck:
        screen = deck.screen
        await deck.until(lambda: screen.view.state == "failed" and screen.live.feed.row is not None)
        await deck.until(lambda: deck.app.engines[screen.run].ended is not None)
        screen.start_engine(lambda: engine_process.retry(deck.db, screen.run, ("--agent", "nobody")))
        await deck.until(lambda: deck.app.engines[screen.run].ended == 2)
        await deck.until(lambda: "no agent nobody" in screen.query_one(Notice).render_line(0).text)


async def test_a_run_whose_engine_is_killed_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    async with steered(tmp_path, SHIP.replace("60s", "3s")) as deck:
        pilot, screen = deck.pilot, deck.screen
        await deck.until(lambda: deck.state("slow") == "running")
        os.kill(deck.app.engines[screen.run].pid, signal.SIGKILL)
        await deck.until(lambda: "R resumes it" in screen.query_one(Notice).render_line(0).text)
        assert "interrupted" in "".join(text for text, _ in screen.panes.header.draw(0, 140).pieces)
        await pilot.press("R")
        await deck.until(lambda: screen.view.state == "running" and deck.state("slow") == "done")
        assert "running" in "".join(text for text, _ in screen.panes.header.draw(0, 140).pieces)
        assert any(m.kind == "resumed" for m in screen.view.timeline)


HOLD = """
agentdeck: 1
name: hold
inputs: { id: string }
agents:
  slow: { python: "held_shop:work", timeout: 1m }
"""
HELD_SHOP = """
import pathlib, time
def work(id):
    while not pathlib.Path(__file__).with_name("open").exists():
        time.sleep(0.02)
    return id
"""


async def test_resume_shows_what_changed_since_the_launch_and_asks(tmp_path: Path) -> None:
    module = tmp_path / "held_shop.py"
    module.write_text(HELD_SHOP, encoding="utf-8")
    async with steered(tmp_path, HOLD) as deck:
        pilot, screen = deck.pilot, deck.screen
        await deck.until(lambda: deck.state("slow") == "running")
        os.kill(deck.app.engines[screen.run].pid, signal.SIGKILL)
        await deck.until(lambda: "R resumes it" in screen.query_one(Notice).render_line(0).text)
        module.write_text(HELD_SHOP + "# changed\n", encoding="utf-8")
        (tmp_path / "open").touch()
        await pilot.press("R")
        assert "module held_shop.py changed" in await deck.question()
        await pilot.press("escape")
        await deck.back()
        assert not any(m.kind == "resumed" for m in screen.view.timeline)
        await pilot.press("R")
        await deck.question()
        await pilot.press("y")
        await deck.until(lambda: screen.view.state == "done")
        [told] = [m.text for m in screen.view.timeline if "accepted by" in m.text]
        assert told.startswith("module held_shop.py changed since the launch; accepted by ")
        assert told.endswith("(console)")
