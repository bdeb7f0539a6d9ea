"""The graphs in whose order `benchmarks.order` is measured: ten recorded runs, and generated graphs.

The recorded ones are in `tests/data/dags`, with their origin and licence. The families of the others are
published: Gaussian elimination, FFT and Laplace as in Topcuoglu et al. (HEFT, 2002), Cholesky and LU as tiled
factorisations, layers and needs of the same number as in the Standard Task Graph set (Tobita and Kasahara,
2002), random orders as in Winkler (1985), and series-parallel graphs, trees, forks and joins, map and reduce,
pipelines. A seed gives the same graphs again. Durations are uniform, lognormal or of two kinds, or belong to
the kind of the task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.graphs import Needs

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
WORKERS = (2, 4, 8, 16)
#: Generated graphs of one seed.
GENERATED = 50


class Graph(NamedTuple):
    """What each agent needs, and its seconds. `best` are makespans by workers that were found before."""

    name: str
    needs: Needs
    seconds: dict[str, float]
    best: dict[int, float]

    def path(self) -> float:
        """The longest path."""
        end: dict[str, float] = {}
        left = dict(self.needs)
        while left:
            for name in [n for n, above in left.items() if all(need in end for need in above)]:
                end[name] = self.seconds[name] + max((end[need] for need in left.pop(name)), default=0.0)
        return max(end.values())


def recorded() -> list[Graph]:
    """The ten recorded runs, with the best makespans of a constraint solver and several list schedules."""
    known = json.loads((DATA / "dags-bounds.json").read_text())
    found = []
    for file in sorted((DATA / "dags").glob("*.json")):
        nodes = json.loads(file.read_text())["nodes"]
        best = {int(workers): row["best_known"] for workers, row in known[file.stem].items()}
        needs = {node["id"]: list(node["deps"]) for node in nodes}
        found.append(Graph(file.stem, needs, {node["id"]: node["duration"] for node in nodes}, best))
    return found


def generated(seed: int, count: int = GENERATED) -> list[Graph]:
    """So many graphs, each family in turn."""
    random, found = Random(seed), []
    for number in range(count):
        family = FAMILIES[number % len(FAMILIES)]
        needs = family(random)
        name = f"{family.__name__}-{seed}-{number}"
        found.append(Graph(name, needs, _seconds(needs, random), {}))
    return found


def _seconds(needs: Needs, random: Random) -> dict[str, float]:
    kind = random.choice(("uniform", "lognormal", "two kinds", "by kind"))
    draw: Callable[[], float] = {
        "uniform": lambda: random.uniform(1, 20),
        "lognormal": lambda: random.lognormvariate(1.5, 1.0),
        "two kinds": lambda: random.uniform(1, 3) if random.random() < 0.8 else random.uniform(20, 40),
        "by kind": lambda: random.uniform(1, 20),
    }[kind]
    if kind != "by kind":
        return {name: round(draw(), 3) for name in needs}
    of = {kind: draw() for kind in dict.fromkeys(name.partition("_")[0] for name in needs)}
    return {name: round(of[name.partition("_")[0]] * random.uniform(0.9, 1.1), 3) for name in needs}


# Families. The part of a name before `_` is the kind of the task.


def layers(random: Random) -> Needs:
    """Layers of random width, each task with some needs in the layer before."""
    needs: Needs = {}
    above: list[str] = []
    for row in range(random.randint(4, 12)):
        width = [f"l{row}_{i}" for i in range(random.randint(2, 14))]
        for name in width:
            needs[name] = sorted(random.sample(above, random.randint(1, min(4, len(above))))) if above else []
        above = width
    return needs


def forks(random: Random) -> Needs:
    """Forks and joins, one after another."""
    needs: Needs = {"join_0": []}
    for row in range(random.randint(1, 5)):
        width = [f"fork{row}_{i}" for i in range(random.randint(5, 25))]
        needs |= {name: [f"join_{row}"] for name in width}
        needs[f"join_{row + 1}"] = width
    return needs


def series_parallel(random: Random) -> Needs:
    """Parts in series or side by side, down to single tasks."""
    needs: Needs = {}

    def part(above: list[str], size: int) -> list[str]:
        if size <= 1:
            needs[name := f"s{len(needs) % 5}_{len(needs)}"] = above
            return [name]
        cut = random.randint(1, size - 1)
        if random.random() < 0.4:
            return part(part(above, cut), size - cut)
        return part(above, cut) + part(above, size - cut)

    part([], random.randint(30, 90))
    return needs


def random_order(random: Random) -> Needs:
    """Each pair is an edge with the same probability."""
    size, share = random.randint(30, 90), random.uniform(0.02, 0.12)
    return {f"r{i % 7}_{i}": [f"r{k % 7}_{k}" for k in range(i) if random.random() < share] for i in range(size)}


def same_needs(random: Random) -> Needs:
    """Each task needs the same number on average, of any before it."""
    size, mean = random.randint(40, 100), random.choice((1, 2, 3))
    names = [f"p{i % 6}_{i}" for i in range(size)]
    return {
        name: sorted(random.sample(names[:i], min(i, random.randint(0, 2 * mean))))
        for i, name in enumerate(names)
    }


def gauss(random: Random) -> Needs:
    """Gaussian elimination: a pivot, then a row of updates, each narrower by one."""
    size = random.randint(6, 13)
    needs: Needs = {}
    for k in range(size - 1):
        needs[f"pivot_{k}"] = [f"update_{k - 1}_{k}"] if k else []
        for j in range(k + 1, size):
            needs[f"update_{k}_{j}"] = [f"pivot_{k}", *([f"update_{k - 1}_{j}"] if k else [])]
    return needs


def fft(random: Random) -> Needs:
    """A tree of calls, then butterflies."""
    depth = random.choice((3, 4))
    width = 2**depth
    needs: Needs = {"call_1": []}
    for i in range(2, 2 * width):
        needs[f"call_{i}"] = [f"call_{i // 2}"]
    above = [f"call_{width + i}" for i in range(width)]
    for level in range(depth):
        row = [f"fly_{level}_{i}" for i in range(width)]
        for i, name in enumerate(row):
            needs[name] = [above[i], above[i ^ (1 << level)]]
        above = row
    return needs


def laplace(random: Random) -> Needs:
    """A grid: each task needs the one above it and the one on its left."""
    size = random.randint(6, 9)
    return {
        f"g{(i + k) % 4}_{i}_{k}": [
            *([f"g{(i - 1 + k) % 4}_{i - 1}_{k}"] if i else []),
            *([f"g{(i + k - 1) % 4}_{i}_{k - 1}"] if k else []),
        ]
        for i in range(size)
        for k in range(size)
    }


def cholesky(random: Random) -> Needs:
    """Tiled Cholesky factorisation."""
    size = random.randint(5, 8)
    needs: Needs = {}
    for k in range(size):
        needs[f"potrf_{k}"] = [f"syrk_{k}_{k - 1}"] if k else []
        for i in range(k + 1, size):
            needs[f"trsm_{i}_{k}"] = [f"potrf_{k}", *([f"gemm_{i}_{k}_{k - 1}"] if k else [])]
        for i in range(k + 1, size):
            needs[f"syrk_{i}_{k}"] = [f"trsm_{i}_{k}", *([f"syrk_{i}_{k - 1}"] if k else [])]
            for j in range(k + 1, i):
                last = [f"gemm_{i}_{j}_{k - 1}"] if k else []
                needs[f"gemm_{i}_{j}_{k}"] = [f"trsm_{i}_{k}", f"trsm_{j}_{k}", *last]
    return needs


def lu(random: Random) -> Needs:
    """Tiled LU factorisation."""
    size = random.randint(4, 6)
    needs: Needs = {}

    def after(k: int, i: int, j: int) -> list[str]:
        return [f"gemm_{i}_{j}_{k - 1}"] if k else []

    for k in range(size):
        needs[f"getrf_{k}"] = after(k, k, k)
        for i in range(k + 1, size):
            needs[f"row_{k}_{i}"] = [f"getrf_{k}", *after(k, k, i)]
            needs[f"column_{i}_{k}"] = [f"getrf_{k}", *after(k, i, k)]
        for i in range(k + 1, size):
            for j in range(k + 1, size):
                needs[f"gemm_{i}_{j}_{k}"] = [f"column_{i}_{k}", f"row_{k}_{j}", *after(k, i, j)]
    return needs


def tree_in(random: Random) -> Needs:
    """Many leaves, one root at the end."""
    size = random.randint(30, 80)
    needs: Needs = {f"t{i % 5}_{i}": [] for i in range(size)}
    names = list(needs)
    for i in range(size - 1):
        needs[names[random.randint(i + 1, min(size - 1, i + 20))]].append(names[i])
    return needs


def tree_out(random: Random) -> Needs:
    """One root at the beginning, many leaves."""
    size = random.randint(30, 80)
    return {
        f"t{i % 5}_{i}": [f"t{k % 5}_{k}" for k in ([random.randint(max(0, i - 20), i - 1)] if i else [])]
        for i in range(size)
    }


def map_reduce(random: Random) -> Needs:
    """Split, map, shuffle to reducers, merge."""
    maps = [f"map_{i}" for i in range(random.randint(10, 40))]
    reducers = [f"reduce_{i}" for i in range(random.randint(3, 12))]
    needs: Needs = {"split_0": [], **{name: ["split_0"] for name in maps}}
    needs |= {name: sorted(random.sample(maps, random.randint(3, len(maps)))) for name in reducers}
    return {**needs, "merge_0": reducers}


def pipelines(random: Random) -> Needs:
    """Chains of different lengths, with some edges between them."""
    needs: Needs = {}
    for chain in range(random.randint(5, 12)):
        for i in range(random.randint(3, 12)):
            above = [f"c{i - 1}_{chain}"] if i else []
            others = [
                name for name in needs if int(name[1 : name.index("_")]) < i and not name.endswith(f"_{chain}")
            ]
            if others and random.random() < 0.15:
                above.append(random.choice(others))
            needs[f"c{i}_{chain}"] = above
    return needs


FAMILIES: tuple[Callable[[Random], Needs], ...] = (
    layers,
    forks,
    series_parallel,
    random_order,
    same_needs,
    gauss,
    fft,
    laplace,
    cholesky,
    lu,
    tree_in,
    tree_out,
    map_reduce,
    pipelines,
)


def graphs(seed: int) -> Iterator[tuple[str, Graph]]:
    """Every graph with its group."""
    for graph in recorded():
        yield "recorded", graph
    for graph in generated(seed):
        yield "generated", graph
