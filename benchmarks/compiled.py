"""The package interpreted and compiled, side by side: `python -m benchmarks.compiled` prints a table.

`make wheel` installs the compiled package. The two take turns, each turn in a process of its own, and each figure
is the median of the turns. Agents that return at once flatter: those that yield to others are beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
WHEEL = ROOT / ".venv" / "wheel"
#: The interpreter and the folder of each. `checkout` holds these benchmarks without the package.
PACKAGES = {
    "interpreted": (sys.executable, ROOT),
    "compiled": (str(WHEEL / "bin" / "python"), WHEEL / "checkout"),
}
LOADS = {
    "core": "pure core, 10,000 × order, no agents",
    "memory": "engine in memory, 10,000 × order, 64 workers",
    "disk": "engine on disk, FULL, same load",
    "fan": "fan 1–1,000–1, in memory",
    "chain": "chain of 1,000, in memory",
    "layered": "layered 100 × 100, in memory",
}
#: How agents return: at once, or after they have yielded to others.
SUFFIXES = {"": "at once", "-yield": "yield"}


def rate(package: str, what: str) -> float:
    """Steps per second of one turn."""
    python, folder = PACKAGES[package]
    call = [python, "-m", "benchmarks.once", "agentdeck", what]
    done = subprocess.run(call, cwd=folder, check=True, capture_output=True, text=True, timeout=1800)
    return float(json.loads(done.stdout)["rate"])


def figures(what: str, turns: int) -> str:
    """The cells of a load: the median of each package, and how many times as fast the compiled one is."""
    rates: dict[str, list[float]] = {package: [] for package in PACKAGES}
    for _ in range(turns):
        for package in PACKAGES:
            rates[package].append(rate(package, what))
    interpreted, compiled = (median(rates[package]) for package in PACKAGES)
    return f"{interpreted:,.0f} | {compiled:,.0f} | {compiled / interpreted:.2f} ×"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure interpreted and compiled, side by side.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", action="append", choices=LOADS)
    asked = parser.parse_args()
    if not WHEEL.exists():
        sys.exit("No compiled package: run `make wheel` first.")
    print("| what, steps/s | agents | interpreted | compiled | |\n|---|---|---|---|---|")
    for load in asked.only or LOADS:
        for suffix, agents in {"": "–"}.items() if load == "core" else SUFFIXES.items():
            print(f"| {LOADS[load]} | {agents} | {figures(load + suffix, asked.turns)} |", flush=True)


if __name__ == "__main__":
    main()
