"""A run that has ended while its process is still closing: what is ordered then, and closing the console."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.containers import Vertical

from agentdeck.console.screens.quit_question import QuitQuestion
from agentdeck.console.status_lines import Notice
from tests.console.steered import Steered, steered
from tests.plugin_packages import installed
from tests.slow_close import DECK, let_close, write_slow_provider

pytestmark = pytest.mark.anyio

ENDING = """
agentdeck: 1
name: ending
inputs: { id: string }
agents:
  pay: { retry: 1, command: [test, -e, "${inputs.id}"] }
  say: { prompt: "Say something about ${inputs.id}." }
  last: { command: [sh, -c, "until test -e last; do sleep 0.05; done"] }
"""


async def stop_while_it_closes(deck: Steered) -> None:
    """Let the run end, and stop its process, which has seconds to close."""
    (deck.db.parent / "last").touch()
    await deck.until(lambda: deck.screen.view.state == "failed")
    os.kill(deck.app.engines[deck.screen.run].pid, signal.SIGSTOP)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the provider is installed that closes slowly."""
    folder = tmp_path / "packages"
    write_slow_provider(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    with installed(folder, monkeypatch):
        yield folder


@pytest.mark.parametrize("asked", ["failed", "running"])
async def test_a_retry_is_carried_out_by_a_new_process_where_the_old_one_is_ending(
    tmp_path: Path, packages: Path, asked: str
) -> None:
    async with steered(tmp_path, ENDING, deck=DECK) as deck:
        pilot, view = deck.pilot, deck.screen.view
        first = deck.app.engines[deck.screen.run]
        await deck.until(lambda: view.letters == 1)
        if asked == "failed":
            await stop_while_it_closes(deck)
        await pilot.press("R")
        told = await deck.question()
        assert ("a new process will do this" in told) is (asked == "failed")
        if asked == "running":
            await stop_while_it_closes(deck)
        (tmp_path / "A-1").touch()
        await pilot.press("1")
        await deck.until(lambda: deck.app.engines[deck.screen.run] is not first)
        let_close(packages)
        os.kill(first.pid, signal.SIGCONT)
        await deck.until(lambda: view.state == "done")
        assert view.agents["pay"].attempts == 2


async def test_closing_the_console_asks_nothing_about_a_run_that_is_over(tmp_path: Path, packages: Path) -> None:
    async with steered(tmp_path, ENDING, deck=DECK) as deck:
        await stop_while_it_closes(deck)
        assert deck.app.engines[deck.screen.run].ended is None
        await deck.pilot.press("ctrl+q")
        await deck.until(lambda: not deck.app.is_running)


async def test_the_question_says_when_the_run_ends_meanwhile(tmp_path: Path, packages: Path) -> None:
    async with steered(tmp_path, ENDING, deck=DECK) as deck:
        run = deck.screen.run
        await deck.pilot.press("ctrl+q")
        assert f"Close the console?\n{run} is executing in the background." in await deck.question()
        assert deck.app.screen.query_one(Vertical).styles.border_top[0] == "round"  # as other dialogs
        await stop_while_it_closes(deck)
        await deck.until(lambda: isinstance(q := deck.app.screen, QuitQuestion) and not q.runs)
        assert await deck.question() == (
            f"Close the console?\n{run} has ended: no run executes any more.\nClose the console: \nStay here: "
        )
        await deck.pilot.press("x")  # no choice any more
        assert isinstance(deck.app.screen, QuitQuestion)
        await deck.pilot.press("s")
        await deck.back()
        await deck.pilot.press("ctrl+q")
        await deck.until(lambda: not deck.app.is_running)


async def test_a_retry_that_is_starting_counts_as_executing(tmp_path: Path, packages: Path) -> None:
    let_close(packages)
    holds = '[sh, -c, "while test -e hold; do sleep 0.05; done; false"]'
    async with steered(tmp_path, ENDING.replace('[test, -e, "${inputs.id}"]', holds), deck=DECK) as deck:
        (tmp_path / "last").touch()
        first = deck.app.engines[deck.screen.run]
        await deck.until(lambda: deck.screen.view.state == "failed" and first.ended is not None)
        (tmp_path / "hold").touch()
        await deck.pilot.press("R")
        await deck.question()
        await deck.pilot.press("1")
        await deck.until(lambda: deck.app.engines[deck.screen.run] is not first)
        os.kill(deck.app.engines[deck.screen.run].pid, signal.SIGSTOP)
        notice = deck.screen.query_one(Notice)
        await deck.until(
            lambda: "retrying …" in notice.render_line(0).text or deck.screen.view.state == "running"
        )
        await deck.pilot.press("ctrl+q")
        await deck.until(lambda: isinstance(deck.app.screen, QuitQuestion))
