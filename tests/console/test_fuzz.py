"""Whatever is typed, the console stays: keys at random, by one who never reads what they do."""

from __future__ import annotations

import random
import shutil
import string
import time
from pathlib import Path

import pytest

from agentdeck.console.app import DeckApp
from agentdeck.engine.launch import Outcome

KEYS = (
    *string.ascii_letters, *string.digits, "up", "down", "left", "right", "tab", "shift+tab", "enter", "enter",
    "escape", "escape", "space", "pageup", "pagedown", "home", "end", "backspace", "slash", "question_mark",
    "colon", "plus", "minus", "full_stop", "comma", "less_than_sign", "greater_than_sign", "left_square_bracket",
    "right_square_bracket", "left_curly_bracket", "right_curly_bracket", "f1", "f2", "ctrl+p", "shift+right",
    "exclamation_mark", "ctrl+y", "ctrl+n",
)  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("seed", "seconds"), [(1, 3), pytest.param(2, 60, marks=pytest.mark.soak)], ids=["short", "long"]
)
async def test_keys_at_random(
    recorded: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, seconds: float
) -> None:
    db = tmp_path / "deck.db"
    shutil.copy(recorded[0], db)
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setattr("agentdeck.operations.engine_process.EngineProcess.__init__", _no_engine)
    monkeypatch.setattr(DeckApp, "exit", lambda *_, **__: None)
    chance = random.Random(seed)
    app = DeckApp(db, run=recorded[1].run)
    typed: list[str] = []
    async with app.run_test(size=(120, 40)) as pilot:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            typed.append(chance.choice(KEYS))
            await pilot.press(typed[-1])
            if chance.random() < 0.01:
                await pilot.resize_terminal(chance.randint(40, 200), chance.randint(10, 60))
            assert app.is_running, typed[-20:]


def _no_engine(self: object, run: str, arguments: object) -> None:
    raise OSError("no engines in this test")
