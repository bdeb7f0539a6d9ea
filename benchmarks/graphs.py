"""The graphs that are measured: agents and what each needs."""

from __future__ import annotations

Needs = dict[str, list[str]]

ORDER: Needs = {
    "extract": [],
    "payment": ["extract"],
    "inventory": ["extract"],
    "shipping": ["extract"],
    "confirm": ["payment", "inventory", "shipping"],
}
#: Seconds of the timed order.
TAKES = {"extract": 0.020, "payment": 0.015, "inventory": 0.020, "shipping": 0.010, "confirm": 0.010}


def fan(width: int) -> Needs:
    """One, then `width` side by side, then one."""
    middle = {f"m{i}": ["first"] for i in range(width)}
    return {"first": [], **middle, "last": list(middle)}


def chain(length: int) -> Needs:
    return {f"c{i}": [f"c{i - 1}"] if i else [] for i in range(length)}


def layered(depth: int, width: int, needs: int = 3) -> Needs:
    """Layers of agents, each of which needs `needs` of the layer before it."""
    return {
        f"l{row}_{i}": [f"l{row - 1}_{(i + k) % width}" for k in range(needs)] if row else []
        for row in range(depth)
        for i in range(width)
    }


def bound(needs: Needs, takes: dict[str, float], tasks: int, workers: int) -> float:
    """No schedule is shorter: the longest path, or all the work shared by the workers."""
    end: dict[str, float] = {}
    for name, above in needs.items():
        end[name] = takes[name] + max((end[need] for need in above), default=0.0)
    return max(max(end.values()), tasks * sum(takes.values()) / workers)
