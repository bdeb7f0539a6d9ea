"""Records the runs that pictures are drawn from: bundled workflows on virtual time, in one store, `runs.db.gz`.

    python -m screenshots.record

The same workflows give the same events, to the microsecond; ids and clocks are made up here. Recorded once and
kept, so that a picture only changes when the console does.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio

from agentdeck.agents.simulate import Simulate
from agentdeck.cli.demo import SEED, _order
from agentdeck.engine import execution, run_storage
from agentdeck.engine import launch as launching
from agentdeck.engine.run_control import RunControl
from agentdeck.operations.bundled_files import workflows
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import Author
from agentdeck.store.log import TableWrite
from agentdeck.store.reader import Reader
from agentdeck.store.runs import set_run
from agentdeck.store.writer import Writer
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Agent, Definition, restored
from tests.virtual_clock import virtual

T = TypeVar("T")

HERE = Path(__file__).parent
RECORDED = HERE / "runs.db.gz"
SKY = HERE.parent / "tests" / "data" / "dags" / "montage-2mass-015d-001.json"
#: The moment of the pictures: everything before it has happened, nothing after it.
NOW = 1_781_516_520.0  # 2026-06-15 09:42:00 UTC
#: Where the workflows of the recording are, until it is laid out somewhere.
FOLDER = "/shop"
#: Who runs what is still running: nobody on this machine, so nobody's death is noticed.
HOST = "night-shift"
DECK = """
agentdeck: 1
limits: { workers: 64 }
providers:
  house: { type: simulated, throttles: 1%, limits: { requests: 1.2k/m, tokens: 400k/m, concurrent: 16 } }
models:
  small: { provider: house, id: small-1, price: { in: 0.25, out: 1.25 } }
  large: { provider: house, id: large-1, price: { in: 3, out: 15 } }
tiers: { routing: small, execution: small, reasoning: large }
"""


@dataclass(frozen=True)
class Past:
    """A run: how long before NOW it began, at which speed the clock went, and what was done meanwhile. `killed`
    so many seconds after it began, it was left as it was."""

    run: str
    workflow: str
    ago: float
    tasks: int = 0
    workers: int = 8
    speed: float = 1.0
    inputs: dict[str, Any] = field(default_factory=dict)
    steer: Callable[[RunControl], Any] | None = None
    tags: tuple[str, ...] = ()
    killed: float | None = None


class Dated:
    """The loop's virtual time since a date; the store's thread asks for it too."""

    def __init__(self, since: float, speed: float) -> None:
        self._since, self._speed = since, speed
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return self._since + self._loop.time() * self._speed


class AtOnce(Writer):
    """Nothing happens while it writes: on virtual time, waiting for a disk would take hours."""

    def append(
        self, run: str, first_seq: int, events: Sequence[ev.Event], also: Sequence[TableWrite] = ()
    ) -> None:
        super().append(run, first_seq, events, also)
        self._settle()

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> Future[T]:
        future = super().call(fn)
        wait([future])
        self._settle()
        return future

    def _settle(self) -> None:
        """What was handed over is on disk, and whoever waits for that was told: batches follow each other."""
        for _ in range(2):
            wait([Writer.call(self, lambda connection: None)])


async def _nobody(*_: object) -> None:
    """Nobody else asks anything of these runs."""


async def _busy_night(control: RunControl) -> None:
    """What an operator did during the demo."""
    await anyio.sleep(14)
    control.limit("workers", 24, 32)
    await anyio.sleep(16)
    control.limit("agents.payment.max_parallel", 5, 8)
    await anyio.sleep(12)
    control.limit("workers", 32, 28)


async def _stopped(control: RunControl, after: float) -> None:
    await anyio.sleep(after)
    control.cancel()


async def _paused(control: RunControl, after: float) -> None:
    await anyio.sleep(after)
    control.pause()


DAY, HOUR, MINUTE = 86_400.0, 3600.0, 60.0


def history() -> list[Past]:
    """A few days of work, and what is under way."""
    chance = random.Random(SEED)
    pasts = []
    plan = ["order", "audit", "assistant", "content", "documents", "code_review", "demo"]
    many = {"order": 40, "assistant": 12, "demo": 24}
    for number in range(42):
        name = plan[number % len(plan)] if number % 3 else chance.choice(plan)
        ago = 3 * DAY * (1 - number / 42) + chance.uniform(0.2, 0.9) * HOUR
        tasks = chance.randint(many[name] // 3, many[name]) if name in many else 0
        run = f"{'k3k4k5k6k7'[2 * (number // 10) :][:2]}{_letters(chance)}"
        tags = ("nightly",) if number % 5 == 0 else ()
        steer = partial(_stopped, after=2.0) if number in (9, 30) else None
        speed = chance.uniform(0.8, 1.35)
        workers = chance.choice((4, 8, 16))
        pasts.append(Past(run, name, ago, tasks, workers, speed, {}, steer, tags, 3.0 if number == 39 else None))
    review = {"pull": "#131 Cache the rates"}
    return [
        *pasts,
        Past("k7qrev", "code_review", 21 * MINUTE, inputs=review, tags=("pull-131",)),
        Past("k7qdoc", "documents", 95.0, workers=6, speed=2.0, steer=partial(_paused, after=1.0)),
        Past("k7qmap", "documents", 27.0, workers=24, inputs={"documents": _documents(240)}),
        Past("k7qsky", "montage", 56.0, workers=14),
        Past("k7qnws", "content", 3.1),
        Past("k7qday", "demo", 49.0, 500, 24, steer=_busy_night, tags=("day-shift",)),
    ]


def _montage() -> Definition:
    """A mosaic of the sky, as astronomers put it together: a graph of a hundred agents."""
    nodes = json.loads(SKY.read_text(encoding="utf-8"))["nodes"]
    agents = {
        node["id"]: Agent(node["id"], Simulate(takes=node["duration"], jitter=0.3), needs=tuple(node["deps"]))
        for node in nodes
    }
    return Definition("montage", agents)


def _documents(number: int) -> list[dict[str, str]]:
    kinds = ("Lease", "Invoice", "Minutes", "Manual", "Complaint", "Offer")
    text = "The {} of page {} names two parties, a date and a sum; it is signed on the last page."
    return [
        {"title": (kind := kinds[n % 6]) + f" {n + 1}", "text": text.format(kind.lower(), n)}
        for n in range(number)
    ]


def _letters(chance: random.Random) -> str:
    return "".join(chance.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(4))


def _tasks(past: Past) -> list[dict[str, Any]] | None:
    if not past.tasks:
        return None
    if past.workflow == "demo":
        chance = random.Random(past.run)
        orders = [_order(index, chance) for index in range(past.tasks)]
        return [order | {"broken": order["broken"] or chance.random() < 0.01} for order in orders]
    if past.workflow == "order":
        lines = (workflows() / "orders.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines[: past.tasks]]
    asked = (
        "Can I move my flight to Friday?",
        "Where is my bag?",
        "I want my money back.",
        "A seat by the window",
    )
    return [{"question": asked[index % 4]} for index in range(past.tasks)]


def play(past: Past, folder: Path, db: Path) -> None:
    """Run it until it ends or NOW is there."""
    since = NOW - past.ago
    control = RunControl("eva")
    file = folder / "workflows" / f"{past.workflow}.yaml"
    if past.workflow == "demo":
        file = folder / "workflows" / "demo" / "demo.yaml"  # beside its own deck
    own = file.parent if (file.parent / "deck.yaml").is_file() else folder
    definition, tasks = _montage() if past.workflow == "montage" else load(file).definition, _tasks(past)
    source = {"file": str(file)} | ({"total": past.tasks} if past.tasks else {})

    async def main() -> None:
        order = launching.Launch(
            definition, own, past.inputs, tasks, past.workers, db=db, source=source, author=Author("eva"),
            tags=past.tags, run=past.run,
        )  # fmt: skip
        async with anyio.create_task_group() as group:
            if past.steer is not None:
                group.start_soon(past.steer, control)
            with anyio.move_on_after((past.killed or past.ago) / past.speed - 0.001):
                await launching.run(order, launching.Watch(control=control), Dated(since, past.speed))
            group.cancel_scope.cancel()

    random.seed(past.run)
    anyio.run(main, backend_options=virtual())


def _bring_up_to_date(connection: sqlite3.Connection, db: Path, run: str, held: bool) -> None:
    """The row of a run that nobody ended, as its owner would keep it."""
    reader = Reader(db)
    try:
        row = reader.run(run)
        if row.ended is not None:
            return
        view = RunView(restored(reader.definition(row.identity)))
        for seq, event in reader.events(run):
            view.apply(seq, event)
    finally:
        reader.close()
    state = "paused" if view.state == "paused" else "running"
    set_run(connection, run, state=state, counts=run_storage.counts_of(view), simulated=view.simulated)
    lease = (HOST, HOST, 1, 9e9) if held else (None,) * 4
    sql = "UPDATE runs SET owner = ?, host = ?, pid = ?, lease_until = ? WHERE run = ?"
    connection.execute(sql, (*lease, run))


def record(to: Path) -> None:
    execution.hold = _nobody  # type: ignore[attr-defined, assignment]
    run_storage.Writer = AtOnce  # type: ignore[attr-defined]
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as made:
        folder, db = Path(made) / "shop", Path(made) / "runs.db"
        shutil.copytree(workflows(), folder / "workflows")
        (folder / "deck.yaml").write_text(DECK, encoding="utf-8")
        for past in sorted(history(), key=lambda past: -past.ago):
            play(past, folder, db)
            print(past.run, past.workflow, flush=True)
        connection = sqlite3.connect(db, isolation_level=None)
        for past in history():
            _bring_up_to_date(connection, db, past.run, past.killed is None)
        for table, column in connection.execute(
            "SELECT m.name, p.name FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table'"
        ).fetchall():
            sql = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE {column} LIKE ?"
            connection.execute(sql, (str(folder), FOLDER, f"%{folder}%"))
        connection.execute("UPDATE reservations SET owner = ?", (HOST,))
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
        connection.close()
        to.write_bytes(gzip.compress(db.read_bytes(), 9, mtime=0))


if __name__ == "__main__":
    record(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED)
