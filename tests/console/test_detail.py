"""The step detail on the screen, of a step in a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Markdown, Static

from agentdeck.console.run_records import RunRecords
from agentdeck.console.step_detail import StepDetail
from agentdeck.engine.launch import Launch, run
from agentdeck.workflow.loader import load
from tests.console.log.samples import Shown

pytestmark = pytest.mark.anyio
FLOW = """
agentdeck: 1
name: flow
agents:
  first: { simulate: { takes: 1ms, returns: { files: [a, b], "text": "# Title\\nbody" } } }
  second: { needs: first, prompt: "About ${first.files}", output: { comment: string } }
  bad: { needs: first, simulate: { takes: 1ms, fails: 100% }, retry: { attempts: 2, delay: 1ms } }
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def records(tmp_path: Path) -> RunRecords:
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW, encoding="utf-8")
    source = {"file": "flow.yaml", "folder": str(tmp_path)}
    asyncio.run(run(Launch(load(file).definition, tmp_path, {}, db=tmp_path / "d.db", source=source)))
    return RunRecords(tmp_path / "d.db", "last")


def page(screen: StepDetail) -> str:
    return "\n".join(screen.sheet.text(i) for i in range(len(screen.sheet.items)))


def told(screen: StepDetail) -> bool:
    return screen.story is not None


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await pilot.pause(0.01)
    raise AssertionError("did not come true")


async def test_it_tells_what_was_asked_what_came_and_what_failed(records: RunRecords) -> None:
    app = Shown(Static())
    async with app.run_test(size=(100, 40)) as pilot:
        for step, words in (
            ("second", ["✓ done", 'About ["a", "b"]', "#1 done after", "comment"]),
            ("bad", ["✗ failed", "exception: simulated failure", "#1 failed", "#2 failed", "retry after"]),
        ):
            screen = StepDetail(records.story("1", step))
            await app.push_screen(screen)
            await until(pilot, partial(told, screen))
            text = page(screen)
            for word in words:
                assert word in text
            await pilot.press("escape")


async def test_parts_fold_and_markdown_is_a_key_away(records: RunRecords) -> None:
    app = Shown(Static())
    async with app.run_test(size=(100, 40)) as pilot:
        screen = StepDetail(records.story("1", "first"))
        await app.push_screen(screen)
        await until(pilot, partial(told, screen))
        await pilot.pause()
        rows = screen.sheet.virtual_size.height
        await pilot.press("left")
        assert screen.sheet.virtual_size.height < rows
        await pilot.press("right")
        assert screen.sheet.virtual_size.height >= rows
        await pilot.press("m")
        await until(pilot, lambda: bool(screen.query(Markdown)))
        assert screen.formatted.display
        await pilot.press("m")
        assert screen.sheet.display
        assert not screen.formatted.display


async def test_what_is_not_there_is_said(records: RunRecords) -> None:
    app = Shown(Static())
    async with app.run_test(size=(100, 40)) as pilot:
        screen = StepDetail(records.story("1", "nobody"))
        await app.push_screen(screen)
        await until(pilot, lambda: "no step nobody" in page(screen))


async def test_a_pager_gets_the_words_of_the_headless_twin(
    records: RunRecords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    seen = tmp_path / "seen"
    script = tmp_path / "pager.sh"
    script.write_text(f'#!/bin/sh\ncp "$1" {seen}\n')
    monkeypatch.setenv("PAGER", f"sh {script}")
    app = Shown(Static())
    monkeypatch.setattr(app, "suspend", contextmanager(lambda: iter([None])))
    async with app.run_test(size=(100, 40)) as pilot:
        screen = StepDetail(records.story("1", "second"))
        await app.push_screen(screen)
        await until(pilot, partial(told, screen))
        await pilot.press("p")
        assert 'About ["a", "b"]' in seen.read_text()
