"""The console on one run, with its frames timed.

    python -m benchmarks.watched DB RUN OUT

OUT is written every second: processor seconds of each frame (taking events in, and the panes' ticks), of each
paint, and how old what was shown was at each frame.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import ClassVar

from agentdeck.console.app import DeckApp
from agentdeck.console.screens.run import RunScreen

WRITE = 1.0


class TimedRun(RunScreen):
    """Notes what each frame and each paint takes."""

    frames: ClassVar[list[float]] = []
    paints: ClassVar[list[float]] = []
    ages: ClassVar[list[float]] = []

    def frame(self) -> None:
        began = time.thread_time()
        super().frame()
        self.frames.append(time.thread_time() - began)
        if self.live.is_open and self.view.ended is None:
            self.ages.append(time.time() - self.view.now)

    def _compositor_refresh(self) -> None:
        began = time.thread_time()
        super()._compositor_refresh()
        self.paints.append(time.thread_time() - began)


class Watched(DeckApp):
    """DeckApp, but for how its run screen is made."""

    def __init__(self, db: Path, run: str, out: Path) -> None:
        super().__init__(db, run=run)
        self.out = out

    def on_ready(self) -> None:
        self.set_interval(WRITE, self.write)

    def open_run(self, run: str) -> None:
        self.push_screen(TimedRun(self.db, run))

    def write(self) -> None:
        told = {"frames": TimedRun.frames, "paints": TimedRun.paints, "ages": TimedRun.ages}
        self.out.write_text(json.dumps(told))


if __name__ == "__main__":
    Watched(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])).run()
