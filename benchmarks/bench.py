"""Measures everything and writes benchmarks/results.md.

Each measurement is a process of its own. Subject, floor and peer take turns within one row, so that whatever
else the machine does hits them alike; each figure is the median of its turns.

    python benchmarks/bench.py [--repeats N] [--only WHAT]… [--traces FOLDER]
                                                    (with --only, these rows and tables are measured anew)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from shutil import which
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.md"
ALL = ("agentdeck", "asyncio", "langgraph")
ALONE = ("agentdeck",)


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured, by whom, which figures of it are shown, and what it should reach."""

    what: str
    title: str
    reach: str
    who: tuple[str, ...] = ALL
    shows: tuple[str, ...] = ("rate",)


ROWS = (
    Row("core", "pure core, 10,000 tasks × order", "≥ 60,000 steps/s", ALONE),
    Row("memory", "engine, store in memory, 10,000 × order, 64 workers", "≥ 20,000 steps/s, ≥ 6 × LangGraph"),
    Row("disk", "engine, store on disk, FULL, same load", "≥ 8,000 steps/s, ≥ 15 × LangGraph with its saver"),
    Row("fan", "fan 1–1,000–1, in memory", "≥ 20,000 steps/s"),
    Row("chain", "chain of 1,000, in memory", "≥ 25,000 steps/s"),
    Row("commit", "one commit on this disk", "–", ("asyncio",), ("seconds",)),
    Row("chain-disk", "chain of 1,000, on disk, FULL, per hop", "≤ 1.5 × one commit", ALL, ("hop",)),
    Row(
        "timed",
        "200 × order at 20/15/20/10/10 ms, 16 workers, on disk: makespan",
        "≤ 1.05 × lower bound",
        ALL,
        ("ratio",),
    ),
    Row("layered", "layered 100 × 100, in memory", "≥ 15,000 steps/s, peak ≤ 80 MB", ALL, ("rate", "peak_mb")),
    Row("tasks-10k", "10,000 tasks, peak memory", "–", ALONE, ("peak_mb",)),
    Row("tasks-100k", "100,000 tasks, peak memory", "≤ 20 MB more than 10,000", ALONE, ("peak_mb",)),
    Row("starts", "`agentdeck --version`, `check`", "≤ 150 ms, ≤ 400 ms", ALONE, ("version", "check")),
    Row("dags", "recorded graphs, against best known", "≤ 1.015, worst ≤ 1.17", ALONE, ("mean", "worst")),
)


@dataclass(frozen=True, slots=True)
class Table:
    """What a program of its own measures, which prints a table: a module with arguments. `within` is how it is
    started instead of with this Python, by a program that may be missing."""

    what: str
    title: str
    module: str
    args: tuple[str, ...] = ()
    within: tuple[str, ...] = (sys.executable,)


#: Ray listens on all addresses, so it gets a network of its own, which has only loopback.
RAY = ("unshare", "-rnpf", "--mount-proc", str(ROOT / ".venv" / "ray" / "bin" / "python"))
TABLES = (
    Table("compiled", "Interpreted and compiled", "benchmarks.compiled"),
    Table("console", "The console", "benchmarks.console"),
    Table("models", "Prompts and limits", "benchmarks.models"),
    Table("recovery", "Recovery, commands, lists", "benchmarks.recovery"),
    Table("dask", "Places on a cluster: beside bare Dask", "benchmarks.cluster", ("--tasks", "2000")),
    Table(
        "ray",
        "Places on a cluster: beside bare Ray",
        "benchmarks.cluster",
        ("--kind", "ray", "--tasks", "600"),
        RAY,
    ),
)
UNITS = {
    "rate": lambda value: f"{value:,.0f} steps/s",
    "seconds": lambda value: f"{value * 1000:.2f} ms",
    "hop": lambda value: f"{value * 1000:.2f} ms/hop",
    "ratio": lambda value: f"{value:.3f} × bound",
    "peak_mb": lambda value: f"peak {value:.0f} MB",
    "version": lambda value: f"{value * 1000:.0f} ms",
    "check": lambda value: f"{value * 1000:.0f} ms",
    "mean": lambda value: f"mean {value:.4f}",
    "worst": lambda value: f"worst {value:.4f}",
}


def once(who: str, what: str) -> dict[str, float] | str:
    """The figures of one measurement, or why there are none."""
    call = [sys.executable, "-m", "benchmarks.once", who, what]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return lines[-1]
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures or "data not at hand"


def turns(row: Row, repeats: int) -> dict[str, str]:
    """The cell of each participant of a row."""
    seen: dict[str, list[dict[str, float]]] = {who: [] for who in row.who}
    cells: dict[str, str] = {}
    for _ in range(repeats):
        for who in row.who:
            if who in cells:
                continue
            figures = once(who, row.what)
            if isinstance(figures, str):
                cells[who] = figures.replace("|", "/")[:100]
            else:
                seen[who].append(figures)
    for who, figures_of in seen.items():
        if who not in cells:
            middle = {show: median(figures[show] for figures in figures_of) for show in row.shows}
            cells[who] = ", ".join(UNITS[show](value) for show, value in middle.items())
    return cells


def table(asked: Table, *args: str) -> str:
    """What one of them prints, or why it prints nothing."""
    if missing := [program for program in asked.within if not program.startswith("-") and not which(program)]:
        return f"Not measured: {missing[0]} is missing (`make test-places` installs Ray)."
    call = [*asked.within, "-m", asked.module, *asked.args, *args]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    lines = done.stderr.strip().splitlines() or ["no message"]
    return done.stdout.strip() or f"It failed: {lines[-1]}"


def rows(asked: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Each row that is asked for: its title, and the row."""
    for row in ROWS:
        if not asked.only or row.what in asked.only:
            cells = turns(row, asked.repeats)
            shown = " | ".join(cells.get(who, "–") for who in ALL)
            yield row.title, f"| {row.title} | {row.reach} | {shown} |"


def tables(asked: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Each table that is asked for: its title, and the table."""
    for one in TABLES:
        if not asked.only or one.what in asked.only:
            yield one.title, table(one, *([asked.traces] if asked.traces and one.what == "models" else []))


def merged(old: str, new: dict[str, str]) -> str:
    """The results with these rows and tables in the place of their own."""
    parts = old.split("\n## ")
    for title, text in new.items():
        if text.startswith(f"| {title} |"):
            lines = [text if line.startswith(f"| {title} |") else line for line in parts[0].splitlines()]
            parts[0] = "\n".join(lines) + "\n"
        else:
            parts = [f"{title}\n\n{text}\n" if part.startswith(f"{title}\n") else part for part in parts]
    return "\n## ".join(parts)


def measured_apart(old: str) -> list[str]:
    """The parts of the results that this script does not measure, since they take long: they stay as they are."""
    ours = {one.title for one in TABLES}
    return [part for part in old.split("\n## ")[1:] if part.partition("\n")[0] not in ours]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure everything; write benchmarks/results.md.")
    parser.add_argument("--repeats", type=int, default=5)
    names = [one.what for one in (*ROWS, *TABLES)]
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--traces", default="", help="Traces of requests, to be replayed through limits.")
    asked = parser.parse_args()
    found: dict[str, str] = {}
    for title, text in chain(rows(asked), tables(asked)):
        found[title] = text
        print(text, flush=True)
    if asked.only:
        RESULTS.write_text(merged(RESULTS.read_text(), found))
        return
    lines = [
        "# Measured",
        "",
        f"Made by `make bench`: Python {platform.python_version()}, {os.cpu_count()} cores, medians of "
        f"{asked.repeats} alternating turns, each in a process of its own, no-op agents. The floor is bare "
        "asyncio (on disk: then bare SQLite group commits), which records, limits, retries and shows nothing.",
        "",
        "| what | reach | agentdeck | floor | LangGraph |",
        "|---|---|---|---|---|",
        *(found[row.title] for row in ROWS),
    ]
    for one in TABLES:
        lines += ["", f"## {one.title}", "", found[one.title]]
    lines += [f"\n## {part.rstrip()}" for part in measured_apart(RESULTS.read_text())]
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
