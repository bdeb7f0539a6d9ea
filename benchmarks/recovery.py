"""How fast an operator is obeyed, and how fast a killed run goes on: real processes on a real file.

    python -m benchmarks.recovery [--only WHAT]… [--tasks 10000]

Prints one row per promise with what was asked of it. A figure that is worse than that is marked, and fails.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import Author
from agentdeck.store.command_client import send_and_wait
from agentdeck.store.reader import Reader
from benchmarks import history

ROOT = Path(__file__).resolve().parent.parent
ORDER = """
agentdeck: 1
name: order
inputs: { n: integer }
agents:
  extract:   { simulate: { takes: 0ms, returns: "${inputs.n}" } }
  payment:   { needs: extract, simulate: { takes: 0ms, returns: "${extract}" } }
  inventory: { needs: extract, simulate: { takes: 0ms, returns: "${extract}" } }
  shipping:  { needs: extract, simulate: { takes: 0ms, returns: "${extract}" } }
  confirm:   { needs: [payment, inventory, shipping], simulate: { takes: 0ms, returns: "${extract}" } }
"""
BUSY = """
agentdeck: 1
name: busy
inputs: { n: integer }
agents:
  held: { max_parallel: 4, simulate: { takes: 200ms } }
  long: { needs: held, simulate: { takes: 200ms } }
"""
WAITS = """
agentdeck: 1
name: waits
inputs: { n: integer }
agents:
  held: { max_parallel: 4, python: "slow:held" }
"""
VERBS = """
agentdeck: 1
name: verbs
inputs: { n: integer }
defaults: { retry: 1, timeout: 120s }
agents:
  command: { command: [sleep, "100"] }
  http: { http: { url: "http://127.0.0.1:PORT/${inputs.n}" } }
  simulate: { simulate: { takes: 100s } }
  coroutine: { python: "slow:coroutine" }
  thread: { python: "slow:thread" }
  prompt: { prompt: "${inputs.n}" }
  nested: { workflow: below.yaml }
  approve: { approve: { ask: "Really?" } }
"""
BELOW = "agentdeck: 1\nname: below\nagents: { inner: { simulate: { takes: 100s } } }\n"
DECK = """
agentdeck: 1
providers: { far: { type: openai, key: none, url: "http://127.0.0.1:PORT/v1" } }
models: { m: { provider: far, id: m } }
tiers: { execution: [m] }
"""
SLOW = """
import asyncio, time
async def coroutine(n):
    await asyncio.sleep(100)
def thread(ctx):
    while not ctx.cancelled():
        time.sleep(0.05)
async def held(n):
    with open("begun", "a") as file:
        file.write(f"{time.time()}\\n")
    await asyncio.sleep(0.2)
"""


class Figure(NamedTuple):
    """What was measured, and how much it may be at most; None where nothing was asked."""

    what: str
    value: float
    most: float | None
    unit: str = "ms"


@contextmanager
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def start(folder: Path, *args: str) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AGENTDECK_")}
    env |= {"PYTHONPATH": str(ROOT), "USER": "ada", "AGENTDECK_DB": str(folder / "d.db")}
    env |= {"XDG_CONFIG_HOME": str(folder / "config")}
    call = [sys.executable, "-m", "agentdeck.cli.main", *args]
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(call, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=said)


def wait(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("it did not come to be")
        time.sleep(0.005)


def tasks(folder: Path, count: int) -> str:
    (folder / "t.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(count)))
    return "t.jsonl"


def begun(folder: Path, seq: int) -> tuple[Reader, str]:
    """The run, once so much of it is recorded."""
    reader = Reader(folder / "d.db")
    wait(lambda: bool(runs := reader.runs(1)) and reader.last_seq(runs[0].run) >= seq)
    return reader, reader.runs(1)[0].run


def finished(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


# What is measured ----------------------------------------------------------------------------------------------


def commands() -> list[Figure]:
    """From the call in this process to the event that records the effect in the other, while it works."""
    with place() as folder:
        (folder / "busy.yaml").write_text(BUSY)
        process = start(folder, "run", "busy.yaml", "--tasks", tasks(folder, 5000), "--workers", "8")
        reader, run = begun(folder, 50)
        effects, answers = [], []
        for n in range(60):
            time.sleep(0.01 + 0.013 * (n % 7))  # at any moment of the owner's round
            since = reader.last_seq(run)
            at = time.time()
            told = send_and_wait(folder / "d.db", run, "limits", {"workers": 8 + (n + 1) % 2}, Author("ada"))
            answers.append((time.time() - at) * 1000)
            assert told.ok, told
            (changed,) = (e for _, e in reader.events(run, since) if isinstance(e, ev.LimitChanged))
            effects.append((changed.at - at) * 1000)
        whole = []
        for n in range(5):
            at = time.monotonic()
            start(folder, "limits", run, f"workers={8 + n % 2}").wait()
            whole.append((time.monotonic() - at) * 1000)
        finished(process)
        reader.close()
    return [
        Figure("a command takes effect, median", statistics.median(effects), 150),
        Figure("a command takes effect, worst of 60", max(effects), 300),
        Figure("… and its answer is there, median", statistics.median(answers), None),
        Figure("`agentdeck limits RUN …`, whole process, median", statistics.median(whole), None),
    ]


def raising() -> list[Figure]:
    """From the event that raises a limit to the first line of the agent that waited for it."""
    with place() as folder:
        (folder / "waits.yaml").write_text(WAITS)
        (folder / "slow.py").write_text(SLOW)
        process = start(folder, "run", "waits.yaml", "--tasks", tasks(folder, 20_000), "--workers", "4")
        reader, run = begun(folder, 50)
        took: dict[str, list[float]] = {"workers": [], "agents.held.max_parallel": []}
        for n in range(12):
            for name in took:
                other = "agents.held.max_parallel" if name == "workers" else "workers"
                for limits in ({name: 0, other: 100}, {name: 50 + n}):
                    since = reader.last_seq(run)
                    assert send_and_wait(folder / "d.db", run, "limits", limits, Author("ada")).ok
                    time.sleep(0.3)
                raised = next(e.at for _, e in reader.events(run, since) if isinstance(e, ev.LimitChanged))
                begins = map(float, (folder / "begun").read_text().split())
                took[name].append((next(at for at in begins if at >= raised) - raised) * 1000)
        finished(process)
        reader.close()
    return [
        Figure(f"raising {name} from 0 starts who waits, worst of {len(each)}", max(each), 50)
        for name, each in took.items()
    ]


def recovery(count: int) -> list[Figure]:
    """A run of so many orders is killed half done. From the call of `resume`, and from when it had the run."""
    with place() as folder:
        (folder / "order.yaml").write_text(ORDER)
        process = start(folder, "run", "order.yaml", "--tasks", tasks(folder, count), "--workers", "64")
        reader, run = begun(folder, 1)
        # Per order: it is opened, five steps start and succeed, it ends.
        wait(lambda: reader.last_seq(run) >= count * 12 // 2, 300)
        finished(process)
        before = reader.last_seq(run)
        at = time.time()
        process = start(folder, "resume", run)
        wait(lambda: reader.last_seq(run) > before + 50)
        log = [e for _, e in reader.events(run, before)]
        first = next(e for e in log if isinstance(e, ev.StepStarted))
        resumed = next(e for e in log if isinstance(e, ev.RunResumed))
        code = process.wait(600)
        row = reader.run(run)
        reader.close()
        if (code, row.state, row.tasks.done) != (0, "done", count):
            raise SystemExit(f"it ended with {code}: {row}")
    return [
        Figure(f"{count:,} orders, {before:,} events recorded: first new step", first.at - at, 2.0, "s"),
        Figure("… of that, until the run is taken up again", resumed.at - at, None, "s"),
    ]


def listing() -> list[Figure]:
    """100,000 runs with 1,000,000 events in one file."""
    with place() as folder:
        history.build(folder / "h.db", 100_000).close()
        reader = Reader(folder / "h.db")
        took = {name: history.measure(one) for name, one in history.questions(reader, 100_000).items()}
        reader.close()
        worst = max(took, key=lambda name: took[name][0])
        process = [
            _seconds([sys.executable, "-m", "agentdeck.cli.main", "runs", "--db", str(folder / "h.db")])
            for _ in range(5)
        ]
    return [
        Figure("newest page of 100,000 runs, median", took["newest page"][0], 100),
        Figure(f"slowest of {len(took)} questions ({worst}), median", took[worst][0], 100),
        Figure("`agentdeck runs`, whole process, median", statistics.median(process) * 1000, None),
    ]


def _seconds(call: list[str]) -> float:
    at = time.monotonic()
    subprocess.run(call, cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - at


SILENT = """
import asyncio
async def main():
    async def hold(reader, writer):
        await reader.read()
        writer.close()
    server = await asyncio.start_server(hold, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def cancelling() -> list[Figure]:
    """125 tasks with a step of every verb each: from the call of `cancel` to the end of the process."""
    each, kinds = 125, 8
    server = subprocess.Popen([sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    with place() as folder:
        (folder / "verbs.yaml").write_text(VERBS.replace("PORT", port))
        (folder / "deck.yaml").write_text(DECK.replace("PORT", port))
        (folder / "below.yaml").write_text(BELOW)
        (folder / "slow.py").write_text(SLOW)
        given = tasks(folder, each)
        process = start(folder, "run", "verbs.yaml", "--tasks", given, "--workers", str(each * kinds))
        reader, run = begun(folder, 1)

        def started() -> int:
            return sum(isinstance(e, ev.StepStarted) for _, e in reader.events(run))

        wait(lambda: started() >= each * (kinds + 1) and len(children(process.pid)) >= each)
        below = children(process.pid)
        at = time.monotonic()
        told = send_and_wait(folder / "d.db", run, "cancel", {}, Author("ada"), 20)
        assert told.ok, told
        wait(lambda: reader.run(run).state == "cancelled")
        over = time.monotonic() - at
        process.wait(60)
        gone = time.monotonic() - at
        left = sum(_alive(pid) for pid in below)
        cancelled = sum(isinstance(e, ev.StepCancelled) for _, e in reader.events(run))
        said = (folder / "said").read_text()
        reader.close()
    server.send_signal(signal.SIGTERM)
    server.wait()
    return [
        Figure(f"cancel of {cancelled:,} steps of {kinds} verbs: the run is over", over, 2.0, "s"),
        Figure("… and its process is gone", gone, 2.0, "s"),
        Figure("… processes left behind", left, 0, ""),
        Figure("… attempts that ignored it", said.count("ignored"), 0, ""),
    ]


def children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (thread / "children").read_text().split())
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast an operator is obeyed, and a killed run goes on.")
    every = ("commands", "raising", "recovery", "listing", "cancelling")
    parser.add_argument("--only", action="append", choices=every)
    parser.add_argument("--tasks", type=int, default=10_000)
    given = parser.parse_args()
    measures: dict[str, Callable[[], list[Figure]]] = {
        "commands": commands,
        "raising": raising,
        "recovery": lambda: recovery(given.tasks),
        "listing": listing,
        "cancelling": cancelling,
    }
    missed = 0
    print("| what | measured | asked |\n|---|---|---|")
    for name in given.only or every:
        for figure in measures[name]():
            late = figure.most is not None and figure.value > figure.most
            missed += late
            asked = "–" if figure.most is None else f"≤ {figure.most:g}"
            value = f"{figure.value:,.2f} {figure.unit}"
            print(f"| {figure.what} | {value}{' (missed)' if late else ''} | {asked} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
