"""What growth.py measures: each function takes a size and a folder for stores, and returns the cost of that size.

Seconds are CPU time, of this process or of the program that it starts. Memory is the peak of this process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import count, repeat
from pathlib import Path
from typing import Any

from benchmarks.graphs import ORDER, Needs, layered

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 64
#: Bytes of each large result, and workers that make them.
LARGE, FEW = 5_000_000, 8
OPEN = """
import sys
from pathlib import Path
from agentdeck.console.app import DeckApp
DeckApp(Path(sys.argv[1]), run=sys.argv[2] or None).run()
"""


def run(
    agents: dict[str, tuple[Callable[..., object], dict[str, Any]]],
    tasks: Iterable[dict[str, int]],
    workers: int,
    db: Path | None,
) -> float:
    """CPU seconds of a run."""
    from agentdeck import Workflow
    from agentdeck.cli.run_process import new_runner
    from agentdeck.engine import launch

    workflow = Workflow("growth")
    for name, (function, keys) in agents.items():
        workflow.agent(name=name, **keys)(function)
    wanted = launch.Launch(workflow.definition, ROOT, {}, iter(tasks), workers, workflow.functions, db)
    with new_runner() as runner:
        begin = time.process_time()
        outcome = runner.run(launch.run(wanted))
        assert outcome.view.state == "done", outcome.view.state
        return time.process_time() - begin


def peak() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# Runs -----------------------------------------------------------------------------------------------------------


def each(items: int, _: Path) -> float:
    """One task with an `each` over so many maps."""

    async def names() -> list[dict[str, object]]:
        return [{"id": i, "name": f"item {i}"} for i in range(items)]

    async def work(item: dict[str, object]) -> int:
        return 1

    async def count(work: list[int]) -> int:
        return len(work)

    agents: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
        "names": (names, {}),
        "work": (work, {"needs": ["names"], "each": "names"}),
        "count": (count, {"needs": ["work"]}),
    }
    return run(agents, [{}], WORKERS, None)


def of_graph(needs: Needs, tasks: int, db: Path | None, workers: int = WORKERS) -> float:
    async def agent() -> int:
        return 1

    return run(
        {name: (agent, {"needs": list(above)}) for name, above in needs.items()}, repeat({}, tasks), workers, db
    )


def orders(tasks: int, stores: Path) -> float:
    """Orders on disk. The store is kept for other rows."""
    file = _file_of(tasks, stores)
    file.unlink(missing_ok=True)
    return of_graph(ORDER, tasks, file)


def workers(number: int, stores: Path) -> float:
    return of_graph(ORDER, 4_000, stores / f"workers-{number}.db", number)


def graph(agents: int, _: Path) -> float:
    """One task through so many agents in layers of 50."""
    return of_graph(layered(agents // 50, 50), 1, None)


def memory(tasks: int, _: Path) -> float:
    """Peak memory of orders in memory."""
    of_graph(ORDER, tasks, None)
    return peak()


def tasks(number: int, stores: Path) -> float:
    """Peak memory of tasks of one step on disk."""
    of_graph({"work": []}, number, stores / f"tasks-{number}.db")
    return peak()


def large(tasks: int, db: Path | None) -> float:
    """Orders, each step of which returns another text of LARGE bytes."""
    numbers, half = count(), "x" * (LARGE // 2)

    async def agent() -> str:
        return f"{next(numbers)} {half}{half}"

    agents: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
        name: (agent, {"needs": list(above)}) for name, above in ORDER.items()
    }
    return run(agents, repeat({}, tasks), FEW, db)


def large_results(tasks: int, _: Path) -> float:
    """Peak memory of orders with large results."""
    large(tasks, None)
    return peak()


def large_on_disk(tasks: int, stores: Path) -> float:
    """The same with a store."""
    file = stores / "large.db"
    large(tasks, file)
    found = peak()
    file.unlink()
    return found


def streams(prompts: int, _: Path) -> float:
    """So many prompts at once, each answered word by word by a local server."""
    from benchmarks import models, streaming

    work = 'agentdeck: 1\nname: streams\nagents: { a: { prompt: "go" } }\n'
    with models.serving() as url:

        def ask(number: int) -> None:
            deck = models.DECK.format(workers=number, url=url, model=streaming.MODEL, limits="")
            models.launched(deck, work, [{"n": n} for n in range(number)], number)

        ask(8)  # imports everything
        begin = time.process_time()
        ask(prompts)
        return time.process_time() - begin


def join(needs: int, _: Path) -> float:
    """CPU seconds to load and check a definition with a join over so many needs."""
    from agentdeck import Workflow

    async def agent() -> int:
        return 1

    def made(count: int) -> Workflow:
        workflow = Workflow("growth")
        for i in range(count):
            workflow.agent(name=f"a{i}")(agent)
        workflow.agent(name="last", needs=[f"a{i}" for i in range(count)])(agent)
        return workflow

    assert made(2).definition  # imports everything
    workflow = made(needs)
    begin = time.process_time()
    assert workflow.definition
    return time.process_time() - begin


# Recorded runs --------------------------------------------------------------------------------------------------


def _file_of(tasks: int, stores: Path) -> Path:
    return stores / f"orders-{tasks}.db"


def _recorded(tasks: int, stores: Path) -> Path:
    """The store of a run of so many orders, which is made where it is missing."""
    file = _file_of(tasks, stores)
    if not file.exists():
        orders(tasks, stores)
    return file


def disk(tasks: int, stores: Path) -> float:
    """Bytes of the store after so many orders of five steps, per step."""
    return _recorded(tasks, stores).stat().st_size / (tasks * len(ORDER))


def command(*words: str) -> Callable[[int, Path], float]:
    """CPU seconds of a command on a recorded run of so many orders, the start of the program included."""
    return lambda tasks, stores: _called(_recorded(tasks, stores), *words)


def _called(db: Path, *words: str) -> float:
    before = _of_children()
    call = [str(Path(sys.executable).with_name("agentdeck")), *words, "--db", str(db)]
    subprocess.run(call, check=True, capture_output=True)
    return _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def opened(tasks: int, stores: Path) -> float:
    """CPU seconds of the console until a recorded run of so many orders is shown."""
    from agentdeck.store.reader import Reader

    file = _recorded(tasks, stores)
    with closing(Reader(file)) as reader:
        return _painted(file, reader.run("last").run, f"{tasks:,}")


def _listed(number: int, stores: Path) -> Path:
    """A store with so many runs, which is made where it is missing."""
    from benchmarks.history import build

    file = stores / f"runs-{number}.db"
    if not file.exists():
        build(file, number).close()
    return file


def runs(number: int, stores: Path) -> float:
    """CPU seconds of `runs` on a store with so many."""
    return _called(_listed(number, stores), "runs")


def history(number: int, stores: Path) -> float:
    """CPU seconds of the console until the list of so many runs is shown."""
    return _painted(_listed(number, stores), "", f"r{number - 1:08}", "h")


def _painted(db: Path, run: str, text: str, keys: str = "") -> float:
    """CPU seconds of the console until it shows a text, after these keys."""
    from benchmarks.terminal import Terminal

    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(db.parent / "config")}
    terminal = Terminal([sys.executable, "-c", OPEN, str(db), run], env=env, folder=db.parent)
    try:
        if keys:
            terminal.wait_for("History")
            terminal.press(keys)
        terminal.wait_for(text, timeout=60)
        return terminal.cpu()
    finally:
        terminal.close()
