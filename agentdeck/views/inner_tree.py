"""The inner steps of one attempt, each inside the one around it: a bounded number, with all that is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, RUNNING
from agentdeck.workflow.model import Data

#: Inner steps of an attempt that are remembered, where the reader does not want another number.
NEWEST = 100
#: The state of an inner step that ran when its attempt ended with a question.
ASKED = "asked"
N = TypeVar("N", int, float)


@dataclass(slots=True)
class InnerNode:
    """One inner step. `parent` is the number of the one around it, 0 where there is none. `usage` is what it and
    all that ran inside it used. `state` is running, done, failed, asked or cancelled."""

    number: int
    name: str
    kind: str
    parent: int
    started: float
    inputs: Data = None
    ended: float | None = None
    state: str = RUNNING
    output: Data = None
    fault: Fault | None = None
    usage: ev.Usage | None = None

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else max(0.0, self.ended - self.started)


class InnerTree:
    """The inner steps that run, and of those that ended the newest and up to as many that failed: `most` of
    each. `count` is the number of all, `failed` that of those that failed."""

    def __init__(self, most: int = NEWEST) -> None:
        self.most = most
        self.count = self.failed = 0
        self._nodes: dict[int, InnerNode] = {}
        self._done: dict[int, None] = {}
        self._failed: dict[int, None] = {}

    @property
    def left_out(self) -> int:
        """How many are not remembered."""
        return self.count - len(self._nodes)

    def nodes(self) -> Iterator[tuple[int, InnerNode]]:
        """Those that are remembered, each with its depth, followed by those inside it. One whose parent is not
        remembered is outermost."""
        inside: dict[int, list[InnerNode]] = {}
        for number in sorted(self._nodes):
            node = self._nodes[number]
            inside.setdefault(node.parent if node.parent in self._nodes else 0, []).append(node)
        left = [(0, node) for node in reversed(inside.get(0, ()))]
        while left:
            depth, node = left.pop()
            yield depth, node
            left += [(depth + 1, below) for below in reversed(inside.get(node.number, ()))]

    def start(self, e: ev.InnerStarted) -> None:
        self.count += 1
        self._nodes[e.inner] = InnerNode(e.inner, e.name, e.kind, e.parent, e.at, e.inputs)

    def end(self, e: ev.InnerEnded) -> None:
        node = self._nodes.get(e.inner)
        if node is None or node.state != RUNNING:
            return
        node.ended, node.output, node.fault = e.at, e.output, e.fault
        node.state = DONE if e.fault is None else FAILED
        self.failed += e.fault is not None
        above: InnerNode | None = node
        while e.usage is not None and above is not None:
            above.usage = e.usage if above.usage is None else _sum(above.usage, e.usage)
            above = self._nodes.get(above.parent)
        kept = self._done if e.fault is None else self._failed
        kept[e.inner] = None
        if len(kept) > self.most:
            oldest = next(iter(kept))
            del kept[oldest], self._nodes[oldest]

    def close(self, at: float, *, asked: bool = False) -> None:
        """The attempt has ended, and what still ran inside it with it: it asks, or it was cancelled."""
        for node in self._nodes.values():
            if node.state == RUNNING:
                node.ended, node.state = at, ASKED if asked else CANCELLED


def _sum(one: ev.Usage, other: ev.Usage) -> ev.Usage:
    """The usage of both. What is unknown of one is unknown of both."""
    return ev.Usage(
        _plus(one.tokens_in, other.tokens_in),
        _plus(one.tokens_out, other.tokens_out),
        _plus(one.cached_in, other.cached_in),
        _plus(one.usd, other.usd),
        _plus(one.usd_reasoning, other.usd_reasoning),
        one.model if one.model == other.model else "",
        one.simulated or other.simulated,
        one.estimated or other.estimated,
    )


def _plus(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other
