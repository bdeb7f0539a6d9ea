"""How good the order is where steps share resources: makespans on a virtual clock, beside the best known.

    python -m benchmarks.order_resources                 480 generated cases
    python -m benchmarks.order_resources --sm FOLDER     the files of PSPLIB (j30, j60, …) in a folder
    python -m benchmarks.order_resources --cases         also each case, the worst first

The cases are made as those of PSPLIB j30 (Kolisch, Sprecher and Drexl, 1995): 30 steps of 1 to 10 seconds, four
resources, network complexity 1.5, 1.8 and 2.1, resource factor 0.25 to 1, resource strength 0.2 to 1, ten cases
of each. There is a worker for every step. The best known is that of `order_resources.json`, found by a constraint
solver (nearly all proven), or the best of what is played here. "Searched" is what a launch does with history.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import inf
from pathlib import Path
from random import Random
from time import process_time
from typing import NamedTuple

from agentdeck.agents.python import Python
from agentdeck.scheduler.order_search import BRIEFLY, OrderSearch
from agentdeck.scheduler.resources import uses_of
from agentdeck.workflow import graph
from agentdeck.workflow.model import Agent, Definition, Limits, Timeout
from benchmarks.order import mean
from benchmarks.virtual_run import play as play_run

BEST = Path(__file__).with_suffix(".json")
STEPS, RESOURCES, MOST_NEEDS = 30, 4, 3
COMPLEXITY, FACTOR, STRENGTH = (1.5, 1.8, 2.1), (0.25, 0.5, 0.75, 1.0), (0.2, 0.5, 0.7, 1.0)
OF_EACH = 10


class Case(NamedTuple):
    """A project: what each step needs, takes and uses, and how much there is."""

    name: str
    needs: dict[str, list[str]]
    seconds: dict[str, float]
    uses: dict[str, dict[str, float]]
    limits: dict[str, float]

    @property
    def bound(self) -> float:
        """The longest path, or a resource."""
        path = max(graph.remaining(self.needs, self.seconds).values())
        used = [
            sum(self.seconds[name] * uses.get(resource, 0) for name, uses in self.uses.items()) / limit
            for resource, limit in self.limits.items()
        ]
        return max(path, *used)


# Cases -------------------------------------------------------------------------------------------------------


def generated(seed: int = 1) -> Iterator[Case]:
    """The 480 cases of a seed."""
    for number, (complexity, factor, strength) in enumerate(product(COMPLEXITY, FACTOR, STRENGTH), 1):
        for one in range(1, OF_EACH + 1):
            yield _case(f"{seed}-{number}-{one}", complexity, factor, strength)


def _case(name: str, complexity: float, factor: float, strength: float) -> Case:
    random = Random(name)
    # PSPLIB counts the arcs of its first and last step, which take no time, too: three each.
    arcs = round(complexity * (STEPS + 2)) - 6
    needs = next(n for n in iter(lambda: _network(random, arcs), None) if sum(map(len, n.values())) == arcs)
    names = list(needs)
    seconds = {one: float(random.randint(1, 10)) for one in names}
    kinds = [f"r{number}" for number in range(RESOURCES)]
    pairs = list(product(names, kinds))
    random.shuffle(pairs)
    # Each step uses something; beyond that, so many pairs of a step and a resource as the factor says.
    chosen = [(one, random.choice(kinds)) for one in names]
    chosen += [pair for pair in pairs if pair not in chosen][: max(0, round(factor * len(pairs)) - len(chosen))]
    uses: dict[str, dict[str, float]] = {one: {} for one in names}
    for one, kind in sorted(chosen):
        uses[one][kind] = random.randint(1, 10)
    limits = {kind: _limit(kind, needs, seconds, uses, strength) for kind in kinds}
    return Case(name, needs, seconds, uses, {kind: limit for kind, limit in limits.items() if limit})


def _network(random: Random, arcs: int) -> dict[str, list[str]]:
    """Three steps at the beginning, three at the end, and arcs without redundant ones until there are so many, or
    no further one is found."""
    order = list(range(STEPS))
    above: list[set[int]] = [set() for _ in order]
    below: list[set[int]] = [set() for _ in order]

    def connect(one: int, other: int) -> None:
        above[other].add(one)
        below[one].add(other)

    for step in order[3:]:
        room = [one for one in order[:step] if len(below[one]) < MOST_NEEDS and one < STEPS - 3]
        connect(random.choice(room or order[: min(step, STEPS - 3)]), step)
    for step in order[: STEPS - 3]:
        if not below[step]:
            room = [one for one in order[max(step + 1, 3) :] if len(above[one]) < MOST_NEEDS]
            connect(step, random.choice(room or order[STEPS - 3 :]))
    for _ in range(1_000):
        if sum(map(len, above)) >= arcs:
            break
        one, other = sorted(random.sample(order, 2))
        free = len(below[one]) < MOST_NEEDS and len(above[other]) < MOST_NEEDS
        if free and other >= 3 and one < STEPS - 3 and not _redundant(one, other, above, below):
            connect(one, other)
    return {f"s{step:02}": [f"s{need:02}" for need in sorted(above[step])] for step in order}


def _redundant(one: int, other: int, above: list[set[int]], below: list[set[int]]) -> bool:
    """Whether the arc follows from others, or makes one that follows from others."""
    before, after = _all(one, above), _all(other, below)
    if other in _all(one, below):
        return True
    return any(below[need] & ({other} | after) for need in before) or bool(below[one] & after)


def _all(step: int, arcs: list[set[int]]) -> set[int]:
    found, open_ = set[int](), [step]
    while open_:
        for other in arcs[open_.pop()] - found:
            found.add(other)
            open_.append(other)
    return found


def _limit(
    kind: str,
    needs: Mapping[str, Sequence[str]],
    seconds: Mapping[str, float],
    uses: Mapping[str, Mapping[str, float]],
    strength: float,
) -> float:
    """Between the most that one step uses, and the peak where every step starts as soon as its needs allow."""
    least = max([uses[name].get(kind, 0.0) for name in uses])
    end: dict[str, float] = {}
    for name in needs:  # in topological order
        end[name] = seconds[name] + max([end[need] for need in needs[name]], default=0.0)
    starts = {name: end[name] - seconds[name] for name in needs}
    peak = max(
        sum(uses[name].get(kind, 0.0) for name in needs if starts[name] <= at < end[name])
        for at in starts.values()
    )
    return least + round(strength * (peak - least))


def read_sm(file: Path) -> Case:
    """A case of PSPLIB, without the first and last step, which take no time."""
    lines = file.read_text().splitlines()

    def rows(title: str, skip: int) -> Iterator[list[int]]:
        first = next(number for number, line in enumerate(lines) if line.startswith(title)) + skip
        for line in lines[first:]:
            if line.startswith("*"):
                return
            if line.strip():
                yield [int(part) for part in line.split()]

    after = {row[0]: row[3:] for row in rows("PRECEDENCE RELATIONS", 2)}
    takes = {row[0]: row[2:] for row in rows("REQUESTS/DURATIONS", 3)}
    have = next(iter(rows("RESOURCEAVAILABILITIES", 2)))
    real = [job for job in takes if takes[job][0] > 0]
    needs = {f"s{job:03}": [f"s{one:03}" for one in real if job in after[one]] for job in real}
    uses = {
        f"s{job:03}": {f"r{number}": float(used) for number, used in enumerate(takes[job][1:]) if used}
        for job in real
    }
    limits = {f"r{number}": float(amount) for number, amount in enumerate(have)}
    return Case(file.stem, needs, {f"s{job:03}": float(takes[job][0]) for job in real}, uses, limits)


# Playing -----------------------------------------------------------------------------------------------------


def play(case: Case, known: Mapping[str, float], order: tuple[str, ...] = ()) -> float:
    """The makespan of the case on the scheduler, which knows these seconds of its agents, or an order."""
    free = Timeout(attempt=None)
    agents = {
        name: Agent(name, Python("m:f"), needs=tuple(needs), timeout=free, uses=case.uses[name])
        for name, needs in case.needs.items()
    }
    definition = Definition(case.name, agents, limits=Limits(resources=case.limits))
    return play_run(definition, known, case.seconds, len(agents), order=order).makespan


def search(case: Case) -> tuple[str, ...]:
    """The order that a launch searches."""
    uses = {name: uses_of(amounts) for name, amounts in case.uses.items()}
    limits = dict(uses_of(case.limits))
    found = OrderSearch(case.needs, case.seconds, len(case.needs), "run", uses, limits)
    until = process_time() + BRIEFLY
    found.search(lambda: process_time() < until)
    return found.order if found.makespan < found.first else ()


def fifo(case: Case) -> float:
    """Steps start in the order in which they became ready: the order of the file, level by level."""
    levels = graph.levels(case.needs)
    return play(case, {}, tuple(name for level in levels for name in level))


PLAYS: dict[str, Callable[[Case], float]] = {
    "level by level": fifo,
    "first run": lambda case: play(case, {}),
    "longest path first": lambda case: play(case, case.seconds),
    "searched": lambda case: play(case, case.seconds, search(case)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sm", type=Path, metavar="FOLDER", help="the files of PSPLIB in a folder")
    parser.add_argument("--cases", action="store_true", help="each case, the worst first")
    given = parser.parse_args()
    cases = [read_sm(file) for file in sorted(given.sm.glob("*.sm"))] if given.sm else list(generated(given.seed))
    best: dict[str, float] = json.loads(BEST.read_text()) if BEST.exists() else {}
    played = {title: [how(case) for case in cases] for title, how in PLAYS.items()}
    found = [
        min(best.get(case.name, inf), *(spans[number] for spans in played.values()))
        for number, case in enumerate(cases)
    ]
    print(f"{len(cases)} cases, {sum(case.name in best for case in cases)} with a known best")
    for title, spans in played.items():
        ratios = [span / least for span, least in zip(spans, found, strict=True)]
        bounds = [span / case.bound for span, case in zip(spans, cases, strict=True)]
        exact = sum(ratio <= 1 for ratio in ratios)
        print(
            f"{title:20} mean {mean(ratios):.4f}  worst {max(ratios):.3f}  best in {exact:3}"
            f"  / lower bound {mean(bounds):.4f}"
        )
        if given.cases:
            for ratio, case in sorted(zip(ratios, cases, strict=True), key=lambda one: -one[0])[:10]:
                print(f"    {ratio:.4f}  {case.name}")


if __name__ == "__main__":
    main()
