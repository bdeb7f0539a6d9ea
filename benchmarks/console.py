"""The console beside an engine: first paint, keys under load, what it costs the engine, what it costs at rest.

    python -m benchmarks.console        prints a table in Markdown
    python -m benchmarks.console --only load rest
    python -m benchmarks.console --only load --tasks 15000 --turns 1

Everything happens in a real terminal (a pty), with the engine in a process of its own, as for an operator.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks import panes
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
ASKS = """
agentdeck: 1
name: asks
agents:
  gate:  { approve: { ask: "Really?" } }
  after: { simulate: { takes: 10ms, returns: 1 }, needs: gate }
"""
#: Characters that nothing else on the screen contains.
ECHOED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫"
WORK = """
async def speaks(ctx):
    ctx.log("a line that is as long as most lines of agents are, about eighty characters")
    ctx.log("and another one, so that there are five thousand of them in every second")
    return 1

async def quick():
    return 1
"""
FILES = {"loaded.yaml": LOADED, "timed.yaml": TIMED, "asks.yaml": ASKS, "work.py": WORK}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=("paint", "beside", "rest", "stalled", "load", "panes"))
    parser.add_argument("--tasks", type=int, default=40_000, help="tasks of the run under load")
    parser.add_argument("--turns", type=int, default=3, help="turns under load")
    given = parser.parse_args()
    parts: dict[str, Callable[[Path], list[tuple[str, str, str]]]] = {
        "paint": first_paint,
        "beside": beside,
        "rest": at_rest,
        "stalled": stalled,
        "load": partial(under_load, tasks=given.tasks, turns=given.turns),
        "panes": lambda _: panes.measure(),
    }
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        for file, text in FILES.items():
            (folder / file).write_text(text)
        for part in given.only or parts:
            rows += parts[part](folder)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
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


def under_load(folder: Path, tasks: int = 40_000, turns: int = 3) -> list[tuple[str, str, str]]:
    """Keys while an engine runs at full speed, and how fast that engine still is."""
    (folder / "tasks.jsonl").write_text("{}\n" * tasks)
    alone: list[float] = []
    watched: list[float] = []
    keys: list[float] = []
    told: dict[str, list[float]] = {"frames": [], "paints": [], "ages": []}
    for turn in range(turns):
        alone.append(seconds_of(engine(folder, f"alone{turn}", tasks)))
        running = engine(folder, f"watched{turn}", tasks)
        out = folder / f"watched{turn}.json"
        terminal = Terminal(console(folder, f"watched{turn}", out), env=env(folder), folder=folder)
        try:
            terminal.wait_for("steps/s")
            terminal.drain(1.0)
            terminal.press("2")
            terminal.drain(0.5)
            terminal.press("/")
            terminal.wait_for("/▏")
            for key in cycle(ECHOED):
                if running.poll() is not None:
                    break
                keys.append(echoed(terminal, key))
                terminal.drain(0.15)
            terminal.drain(1.5)
        finally:
            terminal.close()
        watched.append(seconds_of(running))
        for name, values in json.loads(out.read_text()).items():
            told[name] += values
    kept = median(a / b for a, b in zip(alone, watched, strict=True))
    steps, lines = tasks * 5 / median(watched), tasks * 2 / median(watched)
    return [
        ("key to repaint, engine saturated", quantiles(keys) + f" ({len(keys)} keys)", "p95 ≤ 50 ms"),
        ("frame, processor time", quantiles(told["frames"]), "p95 ≤ 8 ms"),
        ("paint, processor time", quantiles(told["paints"]), "–"),
        ("age of what is shown", quantiles(told["ages"]), "≈ 200 ms"),
        ("what the engine keeps", f"{kept:.0%} ({steps:,.0f} steps/s, {lines:,.0f} log lines/s)", "≥ 85 %"),
    ]


def quantiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"p50 {median(ordered) * 1000:.0f} ms, p95 {ordered[int(len(ordered) * 0.95)] * 1000:.0f} ms"


def echoed(terminal: Terminal, key: str) -> float:
    """Seconds from a key to its echo in the filter of the agents table; it is taken out again."""
    terminal.press(key)
    seconds = terminal.wait_for(key, raw=True)
    terminal.press("\x7f")
    return seconds


def beside(folder: Path, turns: int = 5) -> list[tuple[str, str, str]]:
    """How soon an engine that the console starts has its run in the store, and how soon its death is seen."""
    from agentdeck.operations import engine_process
    from agentdeck.store.reader import Reader

    (folder / "many.jsonl").write_text("{}\n" * 5000)
    ready: list[float] = []
    seen: list[float] = []
    db = folder / "beside.db"
    given = {name: os.environ.get(name) for name in ("PYTHONPATH", "XDG_CONFIG_HOME")}
    os.environ.update({"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder / "config")})
    for _ in range(turns):
        began = time.perf_counter()
        order = engine_process.LaunchRequest(tasks=folder / "many.jsonl")
        started = engine_process.launch(db, folder / "timed.yaml", order)
        reader = Reader(db)
        while not reader.last_seq(started.run):
            time.sleep(0.002)
        ready.append(time.perf_counter() - began)
        reader.close()
        call = [sys.executable, "-c", OPEN + f"DeckApp(Path({str(db)!r}), run={started.run!r}).run()"]
        terminal = Terminal(call, env=env(folder), folder=folder)
        try:
            terminal.wait_for("steps/s")
            terminal.drain(0.5)
            os.kill(started.pid, signal.SIGKILL)
            seen.append(terminal.wait_for("interrupted"))
        finally:
            terminal.close()
    for name, value in given.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    return [
        ("an engine is ready after", f"{median(ready) * 1000:.0f} ms", "≤ 300 ms"),
        ("its death is shown after", f"{max(seen) * 1000:.0f} ms at most", "≤ 2,000 ms"),
    ]


def stalled(folder: Path) -> list[tuple[str, str, str]]:
    """A terminal that takes nothing for ten seconds, while an engine has to be on time."""
    (folder / "few.jsonl").write_text("{}\n" * 400)
    call = [*cli(), "run", "timed.yaml", "--tasks", "few.jsonl", "--workers", "16", "--json"]
    alone = seconds_of(run([*call, "--run-id", "ontime"], folder))
    running = run([*call, "--run-id", "stalled"], folder)
    terminal = Terminal(console(folder, "stalled", folder / "stalled.json"), env=env(folder), folder=folder)
    try:
        terminal.wait_for("extract")
        time.sleep(10)
        late = seconds_of(running)
    finally:
        terminal.close()
    return [("terminal stalled for 10 s", f"the run takes {late / alone:.3f} × as long", "1")]


def at_rest(folder: Path, seconds: float = 30.0) -> list[tuple[str, str, str]]:
    """Processor time and wake-ups when nothing happens: on the first screen, on a run that is over, and on one
    that waits for an approval."""
    seconds_of(run([*cli(), "run", "timed.yaml", "--run-id", "over", "--json"], folder))
    rows = [resting(folder, "first screen", [*cli()], "Launch", seconds)]
    waiting = run([*cli(), "run", "asks.yaml", "--run-id", "waits", "--wait"], folder)
    try:
        for what, name, text in (("a run that is over", "over", "done"), ("a run that waits", "waits", "asking")):
            call = [sys.executable, "-c", OPEN + f"DeckApp(Path('deck.db'), run={name!r}).run()"]
            rows.append(resting(folder, what, call, text, seconds))
    finally:
        waiting.kill()
        waiting.wait()
    return rows


def resting(folder: Path, what: str, command: Sequence[str], text: str, seconds: float) -> tuple[str, str, str]:
    """What the console takes in so many seconds, five seconds after this text was painted."""
    terminal = Terminal(command, env=env(folder), folder=folder)
    try:
        terminal.wait_for(text)
        terminal.drain(5.0)
        cpu, switches = terminal.cpu(), terminal.switches()
        terminal.drain(seconds)
        share, wakes = (terminal.cpu() - cpu) / seconds, (terminal.switches() - switches) / seconds
    finally:
        terminal.close()
    return f"at rest, {what}", f"{share:.1%} of one core, {wakes:.0f} wake-ups a second", "≤ 1 %"


def cli() -> list[str]:
    return [sys.executable, "-m", "agentdeck.cli.main"]


def console(folder: Path, run: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.watched", str(folder / "deck.db"), run, str(out)]


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
