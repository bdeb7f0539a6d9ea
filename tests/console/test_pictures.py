"""Every screen as it is meant to look, small and large, dark, light and colourless, drawn from recorded runs.

After a change that is meant:  pytest tests/console/test_pictures.py --snapshot-update
and a look at what changed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion

from screenshots.shots import SHOTS, Place
from screenshots.stage import Clock, Pictured, lay_out, redrawn, stopped

SIZES = {"large": (160, 48), "small": (80, 24)}
#: What is in the environment, and the themes that are looked at in turn.
LOOKS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "coloured": ({}, ("deck", "paper")),
    "colourless": ({"NO_COLOR": "1"}, ("plain",)),
}


#: Screens that show states, which have to be told apart without colours.
WITH_STATES = ("run", "map", "large", "tasks", "timeline", "limits", "letters", "history", "replay")
PICTURES = [(shot, look) for shot in SHOTS for look in LOOKS if look == "coloured" or shot in WITH_STATES]


@pytest.mark.parametrize(("shot", "look"), PICTURES)
def test_it_looks_as_it_did(shot: str, look: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    environment, themes = LOOKS[look]
    clock, db = Clock(), lay_out(tmp_path)

    async def seen() -> dict[str, str]:
        app = Pictured(db)
        pictures = {}
        async with app.run_test(size=SIZES["large"]) as pilot:
            await SHOTS[shot](Place(pilot, db, clock))
            for name, size in SIZES.items():
                await pilot.resize_terminal(*size)
                for theme in themes:
                    app.theme = theme
                    await redrawn(pilot)
                    pictures[f"{shot}-{name}-{theme}"] = app.export_screenshot()
        return pictures

    with stopped(clock, tmp_path, **environment):
        pictures = asyncio.run(seen())
    for name, picture in pictures.items():
        assert picture == snapshot(extension_class=SVGImageExtension, name=name)
