"""Agents at a place on a cluster, beside the bare client that does the same work on the same workers.

    python -m benchmarks.cluster [--kind dask|ray] [--only WHAT]… [--tasks 10000] [--turns N]

Prints a table. Scheduler, workers and engine are processes of this machine, so all of them share its cores.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from math import log
from pathlib import Path
from typing import Any, NamedTuple

from agentdeck.scheduler import events as ev
from benchmarks.cluster_runs import ROOT, Processes, make, order, p50_p95, ran, resident, started, wait_for
from benchmarks.dask_cluster import NAMES, DaskCluster
from benchmarks.ray_cluster import RayCluster

#: Seconds of a step of an order, and of one that computes.
STEP, BURN = 0.02, 0.05
#: Slots of the cluster: two workers with so many each.
SLOTS = 200
#: Steps that compute at once: a few more than cores.
BURNS = 6
#: How many workers are killed in one run.
KILLS = 20


class Row(NamedTuple):
    what: str
    asked: str
    bare: str
    agentdeck: str


class Bench:
    """A cluster, and what is measured on it."""

    def __init__(self, folder: Path, cluster: DaskCluster | RayCluster, tasks: int, turns: int) -> None:
        self.folder, self.cluster, self.tasks, self.turns = folder, cluster, tasks, turns

    @property
    def roots(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.cluster.processes.items()}

    def place(self, slots: int = SLOTS) -> str:
        return json.dumps(self.cluster.place(slots))

    def bare(self, what: str, count: int, seconds: float = 0.0) -> dict[str, Any]:
        """What the bare client finds, in a process of its own."""
        call = [sys.executable, "-m", self.cluster.module, self.cluster.address, what, str(count)]
        process = subprocess.Popen([*call, str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        watched = Processes({"client": process.pid, **self.roots})
        said, _ = process.communicate()
        assert process.returncode == 0, said
        found: dict[str, Any] = json.loads(said)
        return {**found, "cpu": watched.stop(), "peak_mb": watched.peak_mb}

    # What is measured

    def orders(self) -> list[Row]:
        """Makespan of orders whose steps wait, in alternating turns; memory and processor time of the parts."""
        file = make(self.folder, self.place(), order({"python": "steps:wait", "with": {"seconds": STEP}}), {})
        runs, bares = [], []
        for _ in range(self.turns):
            bares += [self.bare(form, self.tasks, STEP) for form in self.cluster.forms]
            runs.append(ran(file, ({} for _ in range(self.tasks)), SLOTS, self.roots))
        best = min(bares, key=lambda found: found["seconds"])
        run = min(runs, key=lambda found: found.makespan)
        steps = self.tasks * 5
        ours, theirs = run.makespan, best["seconds"]
        return [
            Row(
                f"{self.tasks:,} orders, {steps:,} async steps of {STEP * 1000:g} ms, on disk, FULL: makespan",
                "≤ 1.15 × bare",
                ", ".join(f"{found['seconds']:.1f} s" for found in bares) + f" ({steps / theirs:,.0f} steps/s)",
                f"{', '.join(f'{one.makespan:.1f} s' for one in runs)} ({steps / ours:,.0f} steps/s): "
                f"**{ours / theirs:.2f} ×**; the whole command {run.whole:.1f} s",
            ),
            Row("… peak memory", "engine ≤ 150 MB", megabytes(best["peak_mb"]), megabytes(run.peak_mb)),
            Row("… processor seconds", "–", seconds(best["cpu"]), seconds(run.cpu)),
        ]

    def burning(self) -> list[Row]:
        """Steps that compute: how much of two cores they get, and all processes of the run with the cluster's."""
        steps = max(100, self.tasks // 10)
        places = {
            "threads of the engine": ("{ type: local, slots: 64 }", 64),
            "cluster": (self.place(BURNS), BURNS),
        }
        if own := self.cluster.own_place:
            places["cluster of the run"] = own, BURNS
        found: dict[str, str] = {}
        for name, (place, slots) in places.items():
            agents = {"burn": {"python": "steps:burn", "with": {"seconds": BURN}}}
            run = ran(make(self.folder, place, agents, {}), ({} for _ in range(steps)), slots, self.roots)
            share = steps * BURN / run.makespan / 2
            found[name] = f"{share:.0%} (all processes {sum(run.cpu.values()) / run.whole / 2:.0%})"
        bare = self.bare("burn", steps, BURN)["share"]
        return [
            Row(
                f"{steps:,} steps of {BURN * 1000:g} ms that compute: share of two cores",
                "≥ 90 %; threads ≤ 55 %",
                f"{bare:.0%} ({self.cluster.bare_burn})",
                "; ".join(f"{name} {share}" for name, share in found.items()),
            )
        ]

    def trips(self) -> list[Row]:
        """One step after another, each warm."""
        count = 200
        agents = {"echo": {"python": "steps:echo", "with": {"value": 1}}}
        run = ran(make(self.folder, self.place(), agents, {}), ({} for _ in range(count)), 1, self.roots)
        ours = p50_p95(run.hops())
        theirs = p50_p95(self.bare("trips", count)["spent"][20:])
        return [
            Row(
                "one warm step after another: p50, p95",
                "≤ 1.5 × the round trip",
                f"{theirs[0] * 1000:.1f} ms, {theirs[1] * 1000:.1f} ms",
                f"{ours[0] * 1000:.1f} ms, {ours[1] * 1000:.1f} ms: "
                f"**{ours[0] / theirs[0]:.2f} ×, {ours[1] / theirs[1]:.2f} ×**",
            )
        ]

    def lines(self) -> list[Row]:
        """How late log lines come while they are written: one call, and a hundred at once."""
        rows = []
        for calls in (1, 100):
            agents = {"talk": {"python": "steps:talk", "with": {"lines": 100}}}
            file = make(self.folder, self.place(), agents, {})
            spent = ran(file, ({} for _ in range(calls)), calls, self.roots).late_lines()
            p50, p95 = p50_p95(spent)
            what = f"a line every 20 ms, calls at once: {calls}; lines late by, p50, p95"
            rows.append(Row(what, "≤ 50 ms", "–", f"{p50 * 1000:.0f} ms, **{p95 * 1000:.0f} ms**"))
        return rows

    def kills(self) -> list[Row]:
        """Workers are killed, one after another, and started again by the benchmark. Few steps at once: one that
        is lost four times fails."""
        assert isinstance(self.cluster, DaskCluster)
        tasks = max(200, self.tasks // 5)
        marks, chance = self.folder / "marks", random.Random(16)
        agents = {"mark": {"python": "steps:leave_mark", "with": {"marks": str(marks), "seconds": 0.1}}}
        file = make(self.folder, self.place(), agents, {"n": "integer"})
        marks.write_text("")
        with started(file, ({"n": n} for n in range(tasks)), 10, self.roots) as ended:
            for _ in range(KILLS):
                enough = min(tasks, lines_in(marks) + tasks // (KILLS + 5))
                wait_for(partial(lambda least: lines_in(marks) >= least, enough))
                self.cluster.replace_worker(chance.choice(NAMES))
            run = ended()
        found = [event for event in run.events() if isinstance(event, ev.StepSucceeded)]
        lost = sum(isinstance(event, ev.AttemptLost) for event in run.events())
        outputs = sorted(int(str(event.output)) for event in found)
        right = "each right, each once" if outputs == [n * n for n in range(tasks)] else "WRONG"
        attempts = [line.split()[0] for line in marks.read_text().splitlines()]
        twice = len(attempts) - len(set(attempts))
        return [
            Row(
                f"{KILLS} SIGKILLs of workers in a run of {tasks:,} steps of 0.1 s",
                "no result lost, none twice",
                "–",
                f"**{len(found):,} results, {right}**; {lost} attempts lost and made again, {twice} "
                f"attempts executed twice; {run.makespan:.1f} s",
            )
        ]

    def memory(self) -> list[Row]:
        """What a long run leaves in the processes of the cluster."""
        agents = {"echo": {"python": "steps:echo", "with": {"value": "x" * 100}}}
        file = make(self.folder, self.place(), agents, {})
        sizes = [count for count in (1_000, 10_000, 100_000) if count <= 10 * self.tasks]
        after = []
        for count in sizes:
            ran(file, ({} for _ in range(count)), SLOTS, self.roots)
            after.append(resident(self.roots))
        stay = set[tuple[str, int]].intersection(*map(set, after))
        found = [dict.fromkeys((name for name, _ in sorted(stay)), 0.0) for _ in sizes]
        for sums, sizes_of in zip(found, after, strict=True):
            for process in stay:
                sums[process[0]] += sizes_of[process]
        shown = "; ".join(f"{name} {' / '.join(f'{one[name]:.0f}' for one in found)} MB" for name in found[0])
        grown = max(log(found[-1][name] / found[0][name]) / log(sizes[-1] / sizes[0]) for name in found[0])
        what = f"{' / '.join(f'{size:,}' for size in sizes)} steps, then memory of the cluster"
        return [Row(what, "flat", "–", f"{shown}; exponent at most **{grown:.3f}**")]


def lines_in(file: Path) -> int:
    return file.read_bytes().count(b"\n")


def megabytes(peaks: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f} MB" for name, value in peaks.items())


def seconds(cpu: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in cpu.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="dask")
    parser.add_argument("--only", action="append", choices=list(WHAT))
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=1)
    asked = parser.parse_args()
    kind = KINDS[asked.kind]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        cluster = kind(Path(folder))
        try:
            bench = Bench(Path(folder), cluster, asked.tasks, asked.turns)
            print(f"| what | asked | bare {kind.name} | agentdeck |\n|---|---|---|---|")
            for what in asked.only or (WHAT if asked.kind == "dask" else ALSO_RAY):
                for row in WHAT[what](bench):
                    print("| " + " | ".join(row) + " |", flush=True)
        finally:
            cluster.close()


KINDS: dict[str, type[DaskCluster] | type[RayCluster]] = {"dask": DaskCluster, "ray": RayCluster}
WHAT: dict[str, Callable[[Bench], list[Row]]] = {
    "orders": Bench.orders,
    "burn": Bench.burning,
    "trips": Bench.trips,
    "lines": Bench.lines,
    "kills": Bench.kills,
    "memory": Bench.memory,
}
#: What is measured with Ray too.
ALSO_RAY = ("orders", "burn", "trips", "lines", "memory")

if __name__ == "__main__":
    main()
