"""The calls of tools in prompts, from the lines that prompts log about them.

The log of events has no event for a call of a tool. `agents/prompt_runner.py` writes a line before each call
(`→ name {"argument": 1}`) and one after it (`← name the first line of the answer`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from agentdeck.agents.prompt_log import ANSWER, CALL, FAILED
from agentdeck.store.reader import Reader

#: Seconds by which the clock of a line may be ahead of the event that ends its attempt.
SLACK = 1.0
PAGE = 2000


class ToolCall(NamedTuple):
    """One call of a tool. `end` is None where the attempt ended before the answer came."""

    name: str
    start: float
    end: float | None
    arguments: str
    result: str = ""
    failed: bool = False


class ToolLog:
    """Reads the lines about tools of one run, in order and each once. Lines of agents other than `agents`, which
    may look alike, are dropped. Only the calls of attempts that have not been taken are kept."""

    def __init__(self, reader: Reader, run: str, agents: Collection[str]) -> None:
        self._reader = reader
        self._run = run
        self._agents = frozenset(agents)
        self._after = 0
        self._read_to = float("-inf")
        self._calls: dict[tuple[str, str, int], list[ToolCall]] = {}

    def take(self, task: str, step: str, attempt: int, at: float) -> list[ToolCall]:
        """The calls of an attempt that ended at this time."""
        if step.partition("[")[0] not in self._agents:
            return []
        while self._read_to < at + SLACK and self._read_page():
            pass
        return self._calls.pop((task, step, attempt), [])

    def _read_page(self) -> bool:
        """Read the next lines. False: there are no more for now."""
        rows = self._reader.select(
            "SELECT id, at, task, step, attempt, text FROM logs WHERE run = ? AND id > ?"
            " AND substr(text, 1, 2) IN (?, ?) ORDER BY id LIMIT ?",
            (self._run, self._after, CALL, ANSWER, PAGE),
        )
        for number, at, task, step, attempt, text in rows:
            self._after, self._read_to = number, at
            if step.partition("[")[0] in self._agents:
                self._add(self._calls.setdefault((task, step, attempt), []), at, text)
        return len(rows) == PAGE

    @staticmethod
    def _add(calls: list[ToolCall], at: float, text: str) -> None:
        name, _, rest = text[len(CALL) :].partition(" ")
        if text.startswith(CALL):
            calls.append(ToolCall(name, at, None, rest))
        elif calls and calls[-1].end is None and calls[-1].name == name:
            failed = rest.startswith(FAILED)
            calls[-1] = calls[-1]._replace(end=at, result=rest.removeprefix(FAILED), failed=failed)
