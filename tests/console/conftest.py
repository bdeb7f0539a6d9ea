"""A store with runs in it, and a home that is nobody's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from agentdeck.console import throttle
from agentdeck.console.app import DeckApp
from agentdeck.engine.launch import Launch, Outcome
from agentdeck.engine.launch import run as start
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import loads
from tests.console import threads

SHOP = """
agentdeck: 1
name: shop
about: Read, then paid and picked side by side.
inputs:
  id: { type: string, default: A-1 }
agents:
  read: { simulate: { takes: 2ms, says: ["order ${inputs.id}"], returns: { id: "${inputs.id}" } } }
  pay: { needs: read, retry: 1, expect: "inputs.id != 'A-2'", simulate: { takes: 2ms, returns: { paid: true } } }
  pick: { needs: read, simulate: { takes: 2ms, returns: { shelf: north } } }
  tell: { needs: [pay, pick], simulate: { takes: 2ms, says: ["[red]told[/red] \\e[2J"], returns: { ok: true } } }
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's own is read or written. The config folder of this test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("NO_COLOR", "AGENTDECK_THEME", "AGENTDECK_DB", "AGENTDECK_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "config" / "agentdeck").mkdir(parents=True)
    return tmp_path / "config" / "agentdeck"


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be left out where it took long is never left out: a busy machine shows the same."""
    monkeypatch.setattr(throttle, "LITTLE", float("inf"))


@pytest.fixture(autouse=True)
def handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Pilot.press` returns when the console has handled the keys, which it does one after the other."""
    press = Pilot.press

    async def press_and_wait(pilot: Pilot[None], *keys: str) -> None:
        await press(pilot, *keys)
        while isinstance(pilot.app, DeckApp) and pilot.app.is_running and pilot.app.handles_keys:
            await pilot.pause(0.01)

    monkeypatch.setattr(Pilot, "press", press_and_wait)


@pytest.fixture(autouse=True)
def breaches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Widgets that were touched from a thread that is not the app's. There must be none."""
    found = threads.watch(monkeypatch)
    yield found
    assert not found


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A store, and a run of three tasks in it, one of which failed."""
    folder = tmp_path_factory.mktemp("recorded")
    db = folder / "deck.db"
    definition = loads(SHOP).definition
    tasks = [{"id": f"A-{n}"} for n in (1, 2, 3)]
    return db, asyncio.run(start(Launch(definition, folder, {}, tasks, 4, db=db, source={"total": 3})))


def newest(db: Path) -> str:
    """The run of a store that was started last."""
    reader = Reader(db)
    try:
        return reader.runs(1)[0].run
    finally:
        reader.close()


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let the app go on until it is so."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "did not come true"
        await pilot.pause(0.02)
