"""Draws `inside.svg`: what happens inside a graph of LangGraph, while it waits for an answer. Not drawn from the
recorded runs, but from a run of its own, so its times differ: `python -m screenshots.inside`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from agentdeck import Workflow
from agentdeck.console.app import DeckApp
from agentdeck.console.screens.run import RunScreen
from agentdeck.operations.bundled_files import workflows
from screenshots.stage import redrawn, until

SIZE = (160, 48)
#: Keys on the run screen: the graph, its first agent, what is inside of it.
KEYS = ("1", "down", "space")


async def drawn(db: Path) -> str:
    """The SVG."""
    review = Workflow.from_file(workflows() / "frameworks" / "review.yaml")
    async with review.start(db=db, wait=True) as run:
        app = DeckApp(db, run=run.id)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: isinstance(app.screen, RunScreen))
            screen = app.screen
            assert isinstance(screen, RunScreen)
            await until(pilot, lambda: any(agent.questions for agent in screen.view.agents.values()))
            for key in KEYS:
                await pilot.press(key)
                await redrawn(pilot)
            text = app.export_screenshot()
        await run.cancel()
    return text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        text = asyncio.run(drawn(Path(folder) / "deck.db"))
    (Path(__file__).parent / "inside.svg").write_text(text, encoding="utf-8")
