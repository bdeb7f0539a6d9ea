"""The package interpreted and compiled, and the strongest peer: `python -m benchmarks.compiled` prints a table.

`make wheel` installs the compiled package, `make bench` the peers. All of them take turns, each turn in a process
of its own, and each figure is the median of the turns. Agents that return at once flatter: those that yield to
others are beside them, and the peers' agents yield.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
WHEEL = ROOT / ".venv" / "wheel-O3"
#: The interpreter and the folder of each. `checkout` holds these benchmarks without the package.
PACKAGES = {
    "interpreted": (sys.executable, ROOT),
    "compiled": (str(WHEEL / "bin" / "python"), WHEEL / "checkout"),
}
LOADS = {
    "core": "pure core, 10,000 × order, no agents",
    "memory": "engine in memory, 10,000 × order, 64 workers",
    "disk": "engine on disk, FULL, same load",
    "orders": "in memory, 1,000 × order, 64 workers",
    "orders-disk": "on disk, FULL, 1,000 × order, 64 workers",
    "fan": "fan 1–1,000–1, in memory",
    "chain": "chain of 1,000, in memory",
    "layered": "layered 100 × 100, in memory",
}
#: The peers that can execute a load.
PEERS = {
    "orders": ("dask", "burr", "langgraph"),
    "orders-disk": ("burr", "langgraph"),
    "fan": ("dask", "burr", "langgraph"),
    "chain": ("dask", "burr", "langgraph"),
    "layered": ("dask", "burr", "langgraph"),
}
#: How agents return: at once, or after they have yielded to others.
SUFFIXES = {"": "at once", "-yield": "yield"}
#: Makespans against the lower bound, with each event loop.
TIMED = {"timed-asyncio": "asyncio", "timed": "uvloop"}


def measure(python: str, folder: Path, who: str, what: str) -> dict[str, float]:
    """The figures of one turn; none of a peer that is not installed."""
    call = [python, "-m", "benchmarks.once", who, what]
    done = subprocess.run(call, cwd=folder, check=False, capture_output=True, text=True, timeout=1800)
    if done.returncode and who != "agentdeck":
        print(f"{who}, {what}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    done.check_returncode()
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def turns(what: str, number: int, peers: tuple[str, ...], python: str) -> dict[str, dict[str, float]]:
    """The medians of each package and of each of the peers, which `python` has."""
    seen: dict[str, list[dict[str, float]]] = {}
    for _ in range(number):
        for package, (interpreter, folder) in PACKAGES.items():
            seen.setdefault(package, []).append(measure(interpreter, folder, "agentdeck", what))
        for peer in peers:
            if all(seen.get(peer, [{"": 0.0}])):
                seen.setdefault(peer, []).append(measure(python, ROOT, peer, what))
    found = {who: rounds for who, rounds in seen.items() if all(rounds)}
    return {who: {key: median(one[key] for one in rounds) for key in rounds[0]} for who, rounds in found.items()}


def row(load: str, suffix: str, number: int, python: str) -> str:
    """A row of the table of rates."""
    peers = PEERS.get(load, ()) if suffix else ()
    found = turns(load + suffix, number, peers, python)
    interpreted, compiled = found.pop("interpreted")["rate"], found.pop("compiled")["rate"]
    cells = [f"{interpreted:,.0f}", f"{compiled:,.0f}", f"{compiled / interpreted:.2f} ×"]
    strongest = max(found, key=lambda peer: found[peer]["rate"], default="")
    if strongest:
        rate = found[strongest]["rate"]
        ratios = f"{interpreted / rate:.2f} ×, {compiled / rate:.2f} ×"
        cells += [f"{strongest} {rate:,.0f}", ratios]
    else:
        cells += ["–", "–"]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure interpreted, compiled and peers, side by side.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", action="append", choices=[*LOADS, "timed"])
    parser.add_argument("--agents", choices=SUFFIXES.values(), help="only agents that return so")
    parser.add_argument(
        "--peers", default=sys.executable, help="a Python that has the peers, where it is another"
    )
    asked = parser.parse_args()
    if not WHEEL.exists():
        sys.exit("No compiled package: run `make wheel` first.")
    print("| what, steps/s | agents | interpreted | compiled | | strongest peer | against it |")
    print("|---|---|---|---|---|---|---|")
    for load, title in LOADS.items():
        suffixes = {"": "–"} if load == "core" else SUFFIXES
        for suffix, agents in suffixes.items():
            if load in (asked.only or LOADS) and asked.agents in (None, agents):
                print(f"| {title} | {agents} | {row(load, suffix, asked.turns, asked.peers)} |", flush=True)
    if "timed" in (asked.only or TIMED):
        print(
            "\n| 200 × order at 20/15/20/10/10 ms, 16 workers: makespan / bound | interpreted | compiled |\n"
            "|---|---|---|"
        )
        for load, loop in TIMED.items():
            found = turns(load, asked.turns, (), asked.peers)
            ratios = " | ".join(f"{found[package]['ratio']:.3f}" for package in PACKAGES)
            print(f"| on disk, {loop} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
