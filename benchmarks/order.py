"""How good the order is in which steps start: makespans on a virtual clock, beside the best known.

    python -m benchmarks.order                 every group, with history and as a first run
    python -m benchmarks.order --cases         also each case, the worst first
    python -m benchmarks.order --seed 7        other generated graphs
    python -m benchmarks.order --search 1      first search each case for so many seconds, and keep what is found
    python -m benchmarks.order --noise         what a searched order gains where durations differ from run to run

The scheduler itself is played. "With history" it knows how long each agent takes; "searched" it also starts steps
in the order that a search of 20 ms of processor time found; in a "first run" it knows nothing. The best known is
the best makespan that anything has found: the file of the recorded graphs, `order-best.json` (what `--search` has
found), the lists below, the runs of the scheduler. `FIFO` starts steps as they become ready, with all tasks open.
`task end` is the mean time at which a task ends, beside strict age: the older task first, in a task the longest
remaining path.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from math import exp, inf, log
from pathlib import Path
from random import Random
from time import process_time
from typing import NamedTuple

from agentdeck.agents.python import Python
from agentdeck.scheduler.order_search import BRIEFLY, HIDDEN, STEADY, OrderSearch
from agentdeck.workflow import graph
from agentdeck.workflow.model import Agent, Definition, Timeout
from benchmarks.graphs import ORDER
from benchmarks.order_graphs import WORKERS, Graph, graphs
from benchmarks.virtual_run import Played
from benchmarks.virtual_run import play as play_run

#: Seconds of `workflows/order.yaml`.
TAKES = {"extract": 2.0, "payment": 1.5, "inventory": 2.0, "shipping": 1.0, "confirm": 1.0}
#: The best makespans that searches have found, by case.
BEST = Path(__file__).with_name("order-best.json")
#: Two makespans are the same within this factor.
SAME = 1 + 1e-9


class Case(NamedTuple):
    """So many tasks of a graph at so many workers."""

    group: str
    graph: Graph
    tasks: int
    workers: int

    @property
    def key(self) -> str:
        """Its name in `order-best.json`."""
        return f"{self.graph.name}/{self.tasks}/{self.workers}"

    @property
    def bound(self) -> float:
        """No schedule is shorter: the longest path, or all the work shared by the workers."""
        work = self.tasks * sum(self.graph.seconds.values()) / self.workers
        return max(self.graph.path(), work)


class Result(NamedTuple):
    """A case, and what was played of it."""

    case: Case
    best: float
    fifo: Played
    by_age: Played
    played: Played

    @property
    def ratio(self) -> float:
        return self.played.makespan / self.best


def play(
    case: Case, known: Mapping[str, float], order: tuple[str, ...] = (), takes: Mapping[str, float] | None = None
) -> Played:
    """Run the case on the scheduler, which knows these seconds of its agents; in a searched `order` or without.
    `takes` are the seconds of this run, where they are not those of the graph."""
    of, free = case.graph, Timeout(attempt=None)
    agents = {
        name: Agent(name, Python("m:f"), needs=tuple(above), timeout=free) for name, above in of.needs.items()
    }
    definition = Definition(of.name, agents)
    return play_run(definition, known, takes or of.seconds, case.workers, case.tasks, order)


Key = Callable[[int, str], float]
Play = Callable[[Case, Mapping[str, float]], Played]


def listed(case: Case, key: Key | None) -> Played:
    """A list schedule of all tasks at once: of what is ready, the least `key(task, agent)` starts first. None:
    what became ready first."""
    of, tasks = case.graph, range(case.tasks)
    below = graph.dependents(of.needs)
    missing = {(task, name): len(above) for task in tasks for name, above in of.needs.items()}
    left = dict.fromkeys(tasks, len(of.needs))
    ready: list[tuple[float, int, int, str]] = []
    running: list[tuple[float, int, int, str]] = []
    now, free, count, ended = 0.0, case.workers, 0, 0.0

    def add(task: int, name: str) -> None:
        nonlocal count
        count += 1
        heappush(ready, (0.0 if key is None else key(task, name), count, task, name))

    for task in tasks:
        for name, above in of.needs.items():
            if not above:
                add(task, name)
    while ready or running:
        while ready and free:
            _, number, task, name = heappop(ready)
            heappush(running, (now + of.seconds[name], number, task, name))
            free -= 1
        now = running[0][0]
        while running and running[0][0] == now:
            _, _, task, name = heappop(running)
            free += 1
            left[task] -= 1
            ended += 0.0 if left[task] else now
            for dependent in below[name]:
                missing[task, dependent] -= 1
                if not missing[task, dependent]:
                    add(task, dependent)
    return Played(now, ended / case.tasks)


def search(case: Case, seconds: float) -> OrderSearch:
    """Search so many seconds of processor time for an order of all steps of the case."""
    of, tasks = case.graph, range(1, case.tasks + 1)
    needs = {
        f"{task}/{name}": [f"{task}/{need}" for need in of.needs[name]] for task in tasks for name in of.needs
    }
    taken = {f"{task}/{name}": of.seconds[name] for task in tasks for name in of.needs}
    found = OrderSearch(needs, taken, case.workers, "run")
    until = process_time() + seconds
    found.search(lambda: process_time() < until)
    return found


def searched(case: Case, known: Mapping[str, float]) -> Played:
    """Play a case of one task in the order that a launch searches."""
    return play(case, known, found_order(case, 0.0))


def found_order(case: Case, sigma: float) -> tuple[str, ...]:
    """The order that a launch searches for a case of one task where durations vary so much; empty where it uses
    none, because that gains too little."""
    found = search(case, BRIEFLY)
    gain = found.first / found.makespan - 1
    used = gain > max(1e-9, HIDDEN * sigma**2) and sigma < STEADY
    return tuple([name.partition("/")[2] for name in found.order]) if used else ()


def measured(case: Case, known: Mapping[str, float], best: dict[str, float], how: Play) -> Result:
    """Play a case. The scheduler knows these seconds."""
    of = case.graph
    rank = graph.remaining(of.needs, of.seconds)
    span = 2 * sum(of.seconds.values())
    fifo = listed(case, None)
    by_age = listed(case, lambda task, name: task * span - rank[name])
    by_rank = listed(case, lambda task, name: -rank[name])
    played = how(case, known)
    found = [fifo.makespan, by_age.makespan, by_rank.makespan, played.makespan, best.get(case.key, inf)]
    if case.tasks == 1 and case.workers in of.best:
        found.append(of.best[case.workers])
    best[case.key] = min(found)
    return Result(case, best[case.key], fifo, by_age, played)


def noise(chosen: Sequence[Case]) -> Iterator[str]:
    """What a searched order gains on the longest remaining path first, where each duration is multiplied by a
    random factor of this spread, and both know only the mean."""
    alone = [case for case in chosen if case.tasks == 1]
    for sigma in (0.0, 0.05, 0.1, 0.14):
        random, ratios = Random(1), []
        for case in alone:
            if order := found_order(case, sigma):
                for _ in range(10 if sigma else 1):
                    takes = {
                        n: taken * random.lognormvariate(0, sigma) for n, taken in case.graph.seconds.items()
                    }
                    by_path, by_search = (play(case, case.graph.seconds, o, takes).makespan for o in ((), order))
                    ratios.append(by_search / by_path)
        slower = sum(ratio > SAME for ratio in ratios) / len(ratios)
        used = len(ratios) // (10 if sigma else 1)
        yield f"sigma {sigma:.2f}: used in {used} of {len(alone)}, time {mean(ratios):.4f}, slower {slower:.0%}"


def cases(seed: int) -> Iterator[Case]:
    """Every case: each graph alone, two to eight tasks of it, and many orders."""
    for group, of in graphs(seed):
        for workers in WORKERS:
            yield Case(f"{group}, 1 task", of, 1, workers)
            for tasks in (2, 4, 8):
                yield Case(f"{group}, 2 to 8 tasks", of, tasks, workers)
    order = Graph("order", ORDER, TAKES, {})
    yield Case("20 orders", order, 20, 16)
    yield Case("200 orders", order, 200, 64)


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [log(value) for value in values]
    return exp(sum(logs) / len(logs))


def row(name: str, results: Sequence[Result]) -> str:
    """One line on a group."""
    worst = max(results, key=lambda result: result.ratio)
    slower = sum(r.played.makespan > r.fifo.makespan * SAME for r in results)
    ends = mean(r.played.mean_end / r.by_age.mean_end for r in results)
    bound = mean(r.played.makespan / r.case.bound for r in results)
    return (
        f"{name:40} {len(results):5}  mean {mean(r.ratio for r in results):.4f}  worst {worst.ratio:.3f}"
        f"  worse than FIFO {slower:3}  task end {ends:.3f}  / lower bound {bound:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="groups that begin with this")
    parser.add_argument("--cases", action="store_true", help="each case, the worst first")
    parser.add_argument("--search", type=float, metavar="SECONDS", help="search each case before")
    parser.add_argument("--noise", action="store_true", help="durations that differ from run to run")
    given = parser.parse_args()
    chosen = [case for case in cases(given.seed) if case.group.startswith(given.only)]
    best: dict[str, float] = json.loads(BEST.read_text()) if BEST.exists() else {}
    if given.noise:
        for line in noise(chosen):
            print(line, flush=True)
        return
    if given.search:
        for case in chosen:
            best[case.key] = min(search(case, given.search).makespan, best.get(case.key, inf))
    for title, history, how in TITLES:
        some = [case for case in chosen if case.tasks == 1 or how is not searched]
        results = [measured(case, case.graph.seconds if history else {}, best, how) for case in some]
        for group in dict.fromkeys(case.group for case in some):
            print(row(f"{title}: {group}", [r for r in results if r.case.group == group]), flush=True)
        if given.cases:
            for r in sorted(results, key=lambda result: -result.ratio)[:30]:
                print(
                    f"    {r.ratio:.4f}  {r.case.graph.name}, {r.case.tasks} tasks, {r.case.workers} workers: "
                    f"{r.played.makespan:.2f}, best {r.best:.2f}, FIFO {r.fifo.makespan:.2f}"
                )
    if given.search:
        BEST.write_text(
            json.dumps({key: round(found, 6) for key, found in sorted(best.items())}, indent=0) + "\n"
        )


#: What the scheduler knows, and how it is played.
TITLES: tuple[tuple[str, bool, Play], ...] = (
    ("with history", True, play),
    ("searched", True, searched),
    ("first run", False, play),
)


if __name__ == "__main__":
    main()
