"""Long logs, long histories and large graphs in the console: how long its loop is held up, and what they weigh.

    python -m benchmarks.panes

A pause is how much later than asked for a sleeping task on the same loop wakes up, in processor time of the loop,
so that other programs do not count.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.app import App, ComposeResult

from agentdeck.console import gc_tuning
from agentdeck.console.app import DeckApp
from agentdeck.console.graph.layout import lay_out
from agentdeck.console.log.lines import LineStore
from agentdeck.console.log.pane import LogPane
from agentdeck.console.pane import Selection
from agentdeck.console.row_list import RowList
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.store.reader import LogLine
from benchmarks.graph_canvas import cpu, show
from benchmarks.graphs import layered
from benchmarks.history import build

LINES, RUNS = 1_000_000, 100_000
AGENTS = ("extract", "payment", "inventory", "shipping", "confirm")
SAID = "a line that is as long as most lines of agents are, about eighty characters"
SIZE = (160, 48)


class Pauses:
    """The longest stretch of processor time in which the loop did not come round."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.002)
            self.longest = max(self.longest, time.thread_time() - before)


@contextmanager
def watched() -> Iterator[Pauses]:
    found = Pauses()
    task = asyncio.ensure_future(found.watch())
    try:
        yield found
    finally:
        task.cancel()


class Shown(App[None]):
    def __init__(self, pane: LogPane) -> None:
        super().__init__()
        self.pane = pane

    def compose(self) -> ComposeResult:
        yield self.pane


async def log() -> list[tuple[str, str, str]]:
    """A million lines: their weight, walked through, sifted."""
    store = LineStore()
    pane = LogPane(store)
    async with Shown(pane).run_test(size=SIZE) as pilot:
        gc_tuning.shorten()
        gc_tuning.set_aside()
        before = resident()
        for start in range(0, LINES, 1000):
            store.append(_lines(start))
        gc.collect()
        weight = (resident() - before) / LINES
        pane.frame()
        pane.body.focus()
        with watched() as walked:
            for key in ["pageup"] * 40 + ["home", "end"] * 10 + ["up"] * 20:
                await pilot.press(key)
                pane.frame()
        with watched() as sifted:
            pane.find("999 a line")
            while pane.body.line_filter.left:
                pane.frame()
                await asyncio.sleep(0.02)
            pane.find("")
            pane.show_selection(Selection(agent="payment"))
            pane.frame()
            await pilot.pause()
    longest = max(walked.longest, sifted.longest) * 1000
    return [
        ("1 M log lines walked and sifted, longest pause", f"{longest:.0f} ms", "≤ 100 ms"),
        ("memory per log line of 82 characters", f"{weight:.0f} bytes", "≤ 200"),
    ]


def _lines(start: int) -> list[LogLine]:
    return [
        LogLine(n + 1, 1e9 + n, str(n % 5000), AGENTS[n % 5], 1, "info", f"{n} {SAID}")
        for n in range(start, start + 1000)
    ]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def history() -> list[tuple[str, str, str]]:
    """A hundred thousand runs, from the newest to the oldest and back."""
    with tempfile.TemporaryDirectory() as name:
        db = Path(name) / "deck.db"
        build(db, RUNS).close()
        app = DeckApp(db)
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause(0.5)
            screen = HistoryScreen()
            await app.push_screen(screen)
            rows = screen.query_one(RowList)
            with watched() as found:
                while len(rows.rows) < RUNS:
                    rows.action_edge(1)
                    await asyncio.sleep(0.005)
                for key in ["pageup"] * 30 + ["home", "end"]:
                    await pilot.press(key)
    return [(f"{RUNS:,} runs in history, longest pause", f"{found.longest * 1000:.0f} ms", "≤ 100 ms")]


def graphs() -> list[tuple[str, str, str]]:
    """A graph of a thousand agents until it is there, and a frame of one of ten thousand."""
    thousand = layered(10, 100)
    laid = cpu(lambda: lay_out(thousand, dict.fromkeys(thousand, (14, 1)), apart=0))
    _, first, _ = asyncio.run(show(thousand))
    _, _, frame = asyncio.run(show(layered(100, 100)))
    return [
        ("a graph of 1,000 agents opens", f"{laid + first:.0f} ms", "≤ 1,000 ms"),
        ("a map of 10,000 steps is drawn again", f"{frame:.1f} ms", "≤ 8 ms"),
    ]


def main() -> None:
    for what, measured, reach in measure():
        print(f"| {what} | {measured} | {reach} |")


def measure() -> list[tuple[str, str, str]]:
    return [*graphs(), *asyncio.run(log()), *asyncio.run(history())]


if __name__ == "__main__":
    main()
