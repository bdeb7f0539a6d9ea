"""A run under faults for a long time: how much gets done, and whether anything grows.

    python -m benchmarks.soak [--minutes 30] [--faults 3] [--per-second 15] [--out FILE]

A server in a process of its own answers each prompt within a second, but for a share of the requests, which meets
a fault: an error 500, a 429 with and without Retry-After, a stream that is cut, an answer that is five times as
slow, all equally often. `agentdeck run` asks it in another process, with a store on disk, and is sampled.
*Possible* is what as many workers would get done with the same faults, if each failed call were repeated at once
and nothing were held back but by Retry-After, which holds back all calls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that an answer takes; how much longer a slow one takes; what a 429 asks to wait.
ANSWER, SLOWER, RETRY_AFTER = 1.0, 5, 1.0
FAULTS = ("broken", "throttled", "slower", "cut", "slow")
DECK = """
agentdeck: 1
limits: {{ workers: {workers} }}
providers: {{ far: {{ type: openai, url: "{url}/v1" }} }}
models: {{ m: {{ provider: far, id: soak, price: {{ in: 1, out: 5 }} }} }}
tiers: {{ execution: m }}
"""
WORK = """
agentdeck: 1
name: soak
inputs: { n: integer }
agents: { ask: { prompt: "Answer number ${inputs.n}.", retry: { attempts: 5, delay: 500ms }, timeout: 60s } }
"""


class Sample(NamedTuple):
    minutes: float
    done: int
    rss: float  # MB
    fds: int
    wal: float  # MB


def possible(workers: int, faults: float) -> float:
    """Tasks per second: see the module."""
    each = faults / len(FAULTS)
    busy = (1 - faults) * ANSWER + each * SLOWER * ANSWER + each * ANSWER / 2  # of a call, on average
    return (1 - faults + each) / (busy / workers + each * RETRY_AFTER)


async def serve(faults: float) -> None:
    """Prints its url, and at the end of its input how many requests met what."""
    from tests.providers.server import Server, Talk

    random, met = Random(1), Counter[str]()

    class Faulty(Talk):
        async def do_soak(self) -> bool:
            how = random.choice(FAULTS) if random.random() < faults else "good"
            met[how] += 1
            match how:
                case "broken":
                    return await self.do_broken()
                case "throttled":
                    return await self.refuse(429, "rate_limit_error", "slower", "rate_limit_exceeded")
                case "slower":
                    return await self.do_slower(str(RETRY_AFTER))
                case "cut":
                    self.start()
                    await asyncio.sleep(ANSWER / 2)
                    self.word("Half an answer")
                    await self.writer.drain()
                    return False
                case "slow":
                    return await self.do_pace(str(SLOWER * ANSWER))
            return await self.do_pace(str(ANSWER))

    class Made(Server):
        talk = Faulty

    server = Made()
    listening = await asyncio.start_server(server.connected, "127.0.0.1", 0, backlog=512)
    async with listening:
        print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(json.dumps(met), flush=True)


def sample(pid: int, db: Path, since: float) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        (done,) = connection.execute("SELECT count(*) FROM events WHERE kind = 'task_ended'").fetchone()
    wal = db.with_name(db.name + "-wal")
    size = wal.stat().st_size / 1e6 if wal.exists() else 0.0
    return Sample((time.monotonic() - since) / 60, done, rss, len(list(Path(f"/proc/{pid}/fd").iterdir())), size)


def soak(minutes: float, faults: float, per_second: int) -> tuple[list[Sample], dict[str, int]]:
    call = [sys.executable, "-m", "benchmarks.soak", "--serve", "--faults", str(100 * faults)]
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as place,
        subprocess.Popen(call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        folder, workers = Path(place), round(per_second * ANSWER)
        (folder / "deck.yaml").write_text(DECK.format(url=server.stdout.readline().strip(), workers=workers))
        (folder / "soak.yaml").write_text(WORK)
        many = int(minutes * 60 * per_second * 1.5) + 100
        (folder / "tasks.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(many)))
        db = folder / "runs.db"
        command = Path(sys.executable).with_name("agentdeck")
        run = [str(command), "run", "soak.yaml", "--tasks", "tasks.jsonl", "--db", str(db)]
        environment = {**os.environ, "XDG_CONFIG_HOME": place, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            run, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as engine:
            try:
                samples = watch(engine, db, minutes)
            finally:
                engine.send_signal(signal.SIGINT)
                engine.wait(30)
        server.stdin.close()
        met: dict[str, int] = json.loads(server.stdout.readline())
    return samples, met


def watch(engine: subprocess.Popen[bytes], db: Path, minutes: float) -> list[Sample]:
    """Ten samples, after a start of a few seconds that is not counted."""
    while not db.exists() or not db.stat().st_size:
        if engine.poll() is not None:
            raise SystemExit(f"the run ended at once with {engine.returncode}")
        time.sleep(0.1)
    time.sleep(5)
    since = time.monotonic()
    samples = [sample(engine.pid, db, since)]
    for n in range(1, 11):
        time.sleep(max(0.0, since + n * minutes * 6 - time.monotonic()))
        if engine.poll() is not None:
            raise SystemExit(f"the run ended early with {engine.returncode}")
        samples.append(sample(engine.pid, db, since))
    return samples


def table(samples: list[Sample], met: dict[str, int], minutes: float, faults: float, per_second: int) -> str:
    most = possible(round(per_second * ANSWER), faults)
    lines = [
        f"`python -m benchmarks.soak --minutes {minutes:g} --faults {100 * faults:g}`: "
        f"{round(per_second * ANSWER)} workers, {most:.1f} tasks/s possible",
        "",
        "| minutes | tasks | tasks/s | of the possible | RSS | open files | WAL |",
        "|---|---|---|---|---|---|---|",
    ]
    pairs = pairwise(samples)
    for before, after in [*pairs, (samples[0], samples[-1])]:
        rate = (after.done - before.done) / max(1e-9, after.minutes - before.minutes) / 60
        when = "in all" if before is samples[0] and after is samples[-1] else f"{after.minutes:.1f}"
        lines.append(
            f"| {when} | {after.done:,} | {rate:.1f} | {rate / most:.0%} | {after.rss:.0f} MB | {after.fds} "
            f"| {after.wal:.1f} MB |"
        )
    asked = met.get("slower", 0) * RETRY_AFTER
    lines += [
        "",
        "Requests: " + ", ".join(f"{many:,} {how}" for how, many in sorted(met.items(), key=lambda one: -one[1]))
        + f"; Retry-After asked to wait {asked:.0f} s in all.",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--faults", type=float, default=3.0, help="per cent of the requests")
    parser.add_argument("--per-second", type=int, default=15, help="tasks that are offered")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    faults = given.faults / 100
    if given.serve:
        asyncio.run(serve(faults))
        return
    samples, met = soak(given.minutes, faults, given.per_second)
    text = table(samples, met, given.minutes, faults, given.per_second)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
