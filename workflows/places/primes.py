"""The agents of primes.yaml: plain functions, which know nothing of where they run."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

Part = dict[str, Any]


def split(below: int, parts: int) -> list[list[int]]:
    """Ranges of numbers, as far as possible equally long."""
    edges = [below * number // parts for number in range(parts + 1)]
    return [[first, last] for first, last in pairwise(edges)]


def count(part: list[int], ctx: Any) -> Part:
    """The primes of a range."""
    first, last = part
    primes = [
        number for number in range(max(2, first), last) if all(number % d for d in range(2, _root(number) + 1))
    ]
    ctx.log(f"{len(primes):,} primes from {first:,} to {last:,}")
    return {"primes": len(primes), "first": primes[0] if primes else None, "last": primes[-1] if primes else None}


async def gaps(found: Part, ctx: Any) -> float:
    """How far apart the primes of a range are on average. It waits, as a call of a service would."""
    print(f"the gaps between {found['primes']:,} primes")
    await asyncio.sleep(0.5)
    span = (found["last"] or 0) - (found["first"] or 0)
    return round(span / max(1, found["primes"] - 1), 2)


def report(count: list[Part], gaps: list[float]) -> dict[str, Any]:
    return {"primes": sum(part["primes"] for part in count), "widest_gap": max(gaps, default=0.0)}


def _root(number: int) -> int:
    return int(number**0.5)
