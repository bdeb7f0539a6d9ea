"""`demo`: run a bundled workflow in the console; without a terminal headless, with fewer tasks."""

from __future__ import annotations

import json
import random
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agentdeck.workflow.model import Data

ORDERS, BRIEF = 1000, 120
WORKERS, BRIEF_WORKERS = 32, 64
REMINDER = "demo  ·  p pauses and continues  ·  t changes a limit  ·  ? shows all keys"
SEED = 7
COUNTRIES = ("DE", "FR", "NL", "PL", "SE", "US")
NAMES = ("Ada", "Alan", "Barbara", "Edsger", "Frances", "Grace", "Hedy", "Katherine", "Niklaus", "Tony")


@click.command()
@click.option(
    "--db", metavar="FILE", type=click.Path(), help="The store. Default: demo.db in the user's data folder."
)
@click.option("--tasks", type=click.IntRange(1, 100_000), metavar="N", help="Number of orders.")
@click.option("--workers", type=click.IntRange(1, 10_000), metavar="N", help="Number of steps that run at once.")
def demo(db: str | None, tasks: int | None, workers: int | None) -> int:
    """Open the console on a bundled workflow that is already running: a thousand simulated orders.

    It needs no network and no keys. Without a terminal it runs headless, with fewer orders.

    \b
    Examples:
      agentdeck demo
      agentdeck demo --tasks 200 --workers 64
    """
    from agentdeck.cli.console import has_terminal, open_console
    from agentdeck.operations import engine_process
    from agentdeck.operations.bundled_files import workflows

    path = Path(db).expanduser() if db else _folder() / "demo.db"
    file = workflows() / "demo" / "demo.yaml"
    if not has_terminal():
        return _headless(file, path, tasks or BRIEF, workers or BRIEF_WORKERS)
    request = engine_process.LaunchRequest(tasks=_orders(path, tasks or ORDERS), workers=workers or WORKERS)
    engine = engine_process.launch(path, file, request)
    open_console(path, engine=engine, reminder=REMINDER)
    return 0


def _headless(file: Path, db: Path, tasks: int, workers: int) -> int:
    from agentdeck.cli.error_output import DONE, FAILED, say
    from agentdeck.cli.run import run

    say("no terminal: the demo runs without the console and prints its progress")
    given = [str(file), "--db", str(db), "--tasks", str(_orders(db, tasks)), "--workers", str(workers)]
    code = run.main(given, "agentdeck run", standalone_mode=False)
    say(f"everything is recorded in the store: agentdeck show last --db {shlex.quote(str(db))}")
    return DONE if code in (DONE, FAILED) else int(code)  # some orders fail by design


def _folder() -> Path:
    from platformdirs import user_data_dir

    return Path(user_data_dir("agentdeck", appauthor=False))


def _orders(db: Path, number: int) -> Path:
    """Write a task file beside the store, with the same orders each time; returns its path."""
    path = db.with_name(f"demo-{number}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(SEED)
    with path.open("w", encoding="utf-8") as file:
        for index in range(number):
            file.write(json.dumps(_order(index, chance)) + "\n")
    return path


def _order(index: int, chance: random.Random) -> dict[str, Data]:
    return {
        "id": f"A-{1001 + index}",
        "customer": chance.choice(NAMES),
        "country": chance.choice(COUNTRIES),
        "amount": round(chance.lognormvariate(4.2, 0.9), 2),
        "broken": chance.random() < 0.02,
    }
