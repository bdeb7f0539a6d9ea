"""Order, levels, cycles and longest paths of a workflow: pure functions over needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Needs = Mapping[str, Sequence[str]]


def dependents(needs: Needs) -> dict[str, list[str]]:
    """For each agent, the agents that need it, in order of declaration."""
    back: dict[str, list[str]] = {name: [] for name in needs}
    for name, above in needs.items():
        for need in above:
            back[need].append(name)
    return back


def order(needs: Needs, below: Needs | None = None) -> list[str]:
    """Every agent after all it needs; ties in order of declaration. Agents on or behind a cycle are left out.
    `below` are the `dependents`, where they are known already."""
    missing = {name: len(above) for name, above in needs.items()}
    below = below or dependents(needs)
    ready = [name for name, count in missing.items() if count == 0]
    done: list[str] = []
    for name in ready:
        done.append(name)
        for dependent in below[name]:
            missing[dependent] -= 1
            if missing[dependent] == 0:
                ready.append(dependent)
    return done


def cycle(needs: Needs) -> list[str] | None:
    """One cycle, whole: `[a, b, a]`, each needing the one after it. None where there is none."""
    left = set(needs) - set(order(needs))
    if not left:
        return None
    # Whatever is left needs something left; walking up must come round.
    name = next(n for n in needs if n in left)
    path: list[str] = []
    while name not in path:
        path.append(name)
        name = next(n for n in needs[name] if n in left)
    return [*path[path.index(name) :], name]


def levels(needs: Needs) -> list[list[str]]:
    """Agents by their longest distance from a root."""
    depth: dict[str, int] = {}
    for name in order(needs):
        depth[name] = max((depth[need] + 1 for need in needs[name]), default=0)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in needs:
        if name in depth:
            rows[depth[name]].append(name)
    return rows


def upstream(needs: Needs, name: str) -> set[str]:
    """All agents that `name` needs, directly or through others."""
    seen: set[str] = set()
    todo = list(needs[name])
    while todo:
        need = todo.pop()
        if need not in seen:
            seen.add(need)
            todo.extend(needs.get(need, ()))
    return seen


def remaining(needs: Needs, seconds: Mapping[str, float], below: Needs | None = None) -> dict[str, float]:
    """The longest way from the start of each agent to the end of the graph, itself included. `below` are the
    `dependents`, where they are known already."""
    below = below or dependents(needs)
    left: dict[str, float] = {}
    for name in reversed(order(needs, below)):
        left[name] = seconds.get(name, 1.0) + max([left[d] for d in below[name]], default=0.0)
    return left


def critical_path(needs: Needs, seconds: Mapping[str, float]) -> tuple[list[str], float]:
    """The longest chain of agents, and its duration."""
    left = remaining(needs, seconds)
    if not left:
        return [], 0.0
    below = dependents(needs)
    name = max((n for n in left if not needs[n]), key=lambda n: left[n])
    path = [name]
    while below[name]:
        name = max(below[name], key=lambda n: left[n])
        path.append(name)
    return path, left[path[0]]


def slack(needs: Needs, seconds: Mapping[str, float]) -> dict[str, float]:
    """The time by which each agent can end later without delaying the workflow."""
    left = remaining(needs, seconds)
    start: dict[str, float] = {}
    for name in order(needs):
        start[name] = max((start[need] + seconds.get(need, 1.0) for need in needs[name]), default=0.0)
    total = max(left.values(), default=0.0)
    return {name: total - start[name] - left[name] for name in start}
