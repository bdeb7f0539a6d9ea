"""Draws the pictures of the README and the docs: `make screenshots`, or `python -m screenshots.draw [NAME …]`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from screenshots.shots import SHOTS, Place
from screenshots.stage import Clock, Pictured, lay_out, stopped

LARGE, MIDDLE, SMALL = (160, 48), (100, 30), (80, 24)


class Picture(NamedTuple):
    """A file: which shot, how large, in which theme."""

    shot: str
    size: tuple[int, int] = LARGE
    theme: str = "deck"


PICTURES = {
    **{name: Picture(name) for name in SHOTS},
    "run-80x24": Picture("run", SMALL),
    "deck-80x24": Picture("workflow", SMALL),
    "run-100x30": Picture("run", MIDDLE),
    "run-light": Picture("run", theme="paper"),
    "run-okabe": Picture("run", theme="okabe"),
    "run-plain": Picture("run", theme="plain"),
}


async def drawn(picture: Picture, folder: Path) -> str:
    """The SVG of a picture."""
    clock, db = Clock(), lay_out(folder)
    with stopped(clock, folder, AGENTDECK_THEME=picture.theme):
        app = Pictured(db)
        async with app.run_test(size=picture.size) as pilot:
            await SHOTS[picture.shot](Place(pilot, db, clock))
            return app.export_screenshot()


def main(names: list[str]) -> None:
    for name in names or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            text = asyncio.run(drawn(PICTURES[name], Path(folder)))
        to = Path(__file__).parent / f"{name}.svg"
        to.write_text(text, encoding="utf-8")
        print(f"{to.name}  {len(text) // 1024} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
