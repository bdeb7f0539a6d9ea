"""The console beside an engine: first paint, keys under load, what it costs the engine, what it costs at rest.

    python -m benchmarks.console        prints a table in Markdown

Everything happens in a real terminal (a pty), with the engine in a process of its own, as for an operator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("painted")
Empty().run()
"""
OPEN = "import sys; from pathlib import Path; from agentdeck.console.app import DeckApp; "
LOADED = """
agentdeck: 1
name: loaded
agents:
  extract:   { python: work:speaks }
  payment:   { python: work:quick, needs: extract }
  inventory: { python: work:quick, needs: extract }
  shipping:  { python: work:quick, needs: extract }
  confirm:   { python: work:quick, needs: [payment, inventory, shipping] }
"""
TIMED = """
agentdeck: 1
name: timed
agents:
  extract:   { simulate: { takes: 200ms, returns: 1 } }
  payment:   { simulate: { takes: 150ms, returns: 1 }, needs: extract }
  confirm:   { simulate: { takes: 100ms, returns: 1 }, needs: payment }
"""
#: Characters that nothing else on the screen contains.
ECHOED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫"
WORK = """
async def speaks(ctx):
    ctx.log("a line that is as long as most lines of agents are, about eighty characters")
    return 1

async def quick():
    return 1
"""


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        (folder / "loaded.yaml").write_text(LOADED)
        (folder / "timed.yaml").write_text(TIMED)
        (folder / "work.py").write_text(WORK)
        rows = [*first_paint(folder), *under_load(folder), *stalled(folder), *at_rest(folder)]
    print("| the console | measured | reach |")
    print("|---|---|---|")
    for what, measured, reach in rows:
        print(f"| {what} | {measured} | {reach} |")


def first_paint(folder: Path, turns: int = 7) -> list[tuple[str, str, str]]:
    """From the call to the first screen, against an app that shows one word."""
    mine: list[float] = []
    empty: list[float] = []
    for _ in range(turns):
        mine.append(painted([sys.executable, "-m", "agentdeck.cli.main"], "looking", folder))
        empty.append(painted([sys.executable, "-c", EMPTY], "painted", folder))
    ratio = median(mine) / median(empty)
    told = f"{median(mine) * 1000:.0f} ms, {ratio:.2f} × an empty Textual app ({median(empty) * 1000:.0f} ms)"
    return [("first paint of `agentdeck`", told, "≤ 500 ms, ≤ 1.6 ×")]


def painted(command: Sequence[str], text: str, folder: Path) -> float:
    terminal = Terminal(command, env=env(folder), folder=folder)
    try:
        terminal.wait_for(text)
        return time.perf_counter() - terminal.began
    finally:
        terminal.close()


def under_load(folder: Path, tasks: int = 60_000) -> list[tuple[str, str, str]]:
    """Keys while an engine runs at full speed, and how fast that engine still is."""
    (folder / "tasks.jsonl").write_text("{}\n" * tasks)
    alone: list[float] = []
    watched: list[float] = []
    keys: list[float] = []
    lines = 0.0
    for turn in range(3):
        alone.append(seconds_of(engine(folder, f"alone{turn}", tasks)))
        running = engine(folder, f"watched{turn}", tasks)
        terminal = Terminal(console(folder, f"watched{turn}"), env=env(folder), folder=folder)
        try:
            terminal.wait_for("extract")
            terminal.drain(1.0)
            terminal.press("2/")
            terminal.drain(1.0)
            for key in cycle(ECHOED):
                if running.poll() is not None:
                    break
                keys.append(echoed(terminal, key))
                terminal.drain(0.15)
        finally:
            terminal.close()
        watched.append(seconds_of(running))
        lines = tasks / watched[-1]
    keys.sort()
    told = f"p50 {median(keys) * 1000:.0f} ms, p95 {keys[int(len(keys) * 0.95)] * 1000:.0f} ms ({len(keys)} keys)"
    kept = median(alone) / median(watched)
    rate = tasks * 5 / median(watched)
    return [
        ("key to repaint, engine saturated", told, "p95 ≤ 50 ms"),
        ("what the engine keeps", f"{kept:.0%} ({rate:,.0f} steps/s, {lines:,.0f} log lines/s)", "≥ 85 %"),
    ]


def echoed(terminal: Terminal, key: str) -> float:
    """Seconds from a key to its echo in the filter of the agents table; it is taken out again."""
    terminal.press(key)
    seconds = terminal.wait_for(key)
    terminal.press("\x7f")
    return seconds


def stalled(folder: Path) -> list[tuple[str, str, str]]:
    """A terminal that takes nothing for ten seconds, while an engine has to be on time."""
    (folder / "few.jsonl").write_text("{}\n" * 400)
    call = [*cli(), "run", "timed.yaml", "--tasks", "few.jsonl", "--workers", "16", "--json"]
    alone = seconds_of(run([*call, "--run-id", "ontime"], folder))
    running = run([*call, "--run-id", "stalled"], folder)
    terminal = Terminal(console(folder, "stalled"), env=env(folder), folder=folder)
    try:
        terminal.wait_for("extract")
        time.sleep(10)
        late = seconds_of(running)
    finally:
        terminal.close()
    return [("terminal stalled for 10 s", f"the run takes {late / alone:.3f} × as long", "1")]


def at_rest(folder: Path) -> list[tuple[str, str, str]]:
    """Processor time on the first screen, when nothing happens."""
    terminal = Terminal([*cli()], env=env(folder), folder=folder)
    try:
        terminal.wait_for("Launch")
        terminal.drain(3.0)
        before = terminal.cpu()
        terminal.drain(20.0)
        share = (terminal.cpu() - before) / 20
    finally:
        terminal.close()
    return [("at rest", f"{share:.1%} of one core", "≤ 1 %")]


def cli() -> list[str]:
    return [sys.executable, "-m", "agentdeck.cli.main"]


def console(folder: Path, run: str) -> list[str]:
    return [sys.executable, "-c", OPEN + f"DeckApp(Path({str(folder / 'deck.db')!r}), run={run!r}).run()"]


def engine(folder: Path, name: str, tasks: int) -> subprocess.Popen[str]:
    call = [*cli(), "run", "loaded.yaml", "--tasks", "tasks.jsonl", "--workers", "64", "--json"]
    return run([*call, "--run-id", name], folder)


def run(call: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        call, cwd=folder, env=env(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def seconds_of(process: subprocess.Popen[str]) -> float:
    """How long the run took, as it says itself."""
    out, _ = process.communicate(timeout=600)
    return float(json.loads(out)["seconds"])


def env(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "AGENTDECK_DB": str(folder / "deck.db"),
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }


if __name__ == "__main__":
    main()
