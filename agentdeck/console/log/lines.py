"""The log lines of a run in memory: a million of them, at about a hundred bytes beyond their text.

They are stored in columns, not as objects. A line has a number: how many lines were stored before it. It keeps
the number when the oldest lines are dropped. Control characters are removed from the text here, and only here.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.store.reader import LogLine

MOST = 1_000_000
MOST_CHARACTERS = 400_000_000
LONGEST = 65_536
JOINED = 600  # characters of a streamed text that are gathered into one line
LONGEST_NAME = 100  # characters in which the name of an inner step is looked for
STREAMS = 512  # streamed texts that are gathered at once
GAP = "gap"

#: How much a level weighs. Whatever else agents call theirs weighs as `info`.
RANKS = {"debug": 1, "info": 2, "out": 2, "warning": 3, "err": 3, "error": 4, "critical": 5, GAP: 9}

#: The number of an item, and that of a call through the gateway: `review[3]`, `write[1.7]`.
_ITEM = re.compile(r"(\[[\d.]+\])+$")


class CleanLine(NamedTuple):
    """One line without control characters. `agent` is the name as in `RunView.agents`."""

    number: int
    at: float
    agent: str
    task: str
    step: str
    attempt: int
    level: str
    text: str

    @property
    def place(self) -> str:
        """Task and step, as far as the line has them."""
        return "/".join(part for part in (self.task, self.step) if part)


def steady(text: str) -> str:
    """One line of text without control characters, cut at LONGEST."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} … {len(text) - LONGEST:,} more characters"
    if text.isascii() and text.isprintable():
        return text
    return clean(text)


def agent_of(task: str, step: str) -> str:
    """The agent's name as screens know it: `security`, `review/security` below a sub-workflow, no item."""
    path = [*task.split("/")[1:], step]
    return "/".join(_ITEM.sub("", part) for part in path)


def task_of(agent: str, task: str) -> str:
    """This task, or the one of its sub-workflow that an agent belongs to: `1/review` for `review/security`."""
    *above, name = agent.split("/")
    return task if not task or agent_of(task, name) == agent else "/".join((task.partition("/")[0], *above))


class LineStore:
    """Lines `first` to `next - 1`. `dropped` counts those that were dropped, and those that were never read
    (`gap`). `changes` rises with every change.

    Pieces that an agent in `streams` says are gathered into lines, per attempt: one that ends with a space goes
    on with the next, so a line may grow while it is one of the newest. `grown` holds the numbers of lines that
    grew lately, `growth` counts all of it.

    `inner` holds the inner steps that are known, by agent and name. Their lines begin with the name, and are
    gathered in the same way.
    """

    def __init__(
        self, most: int = MOST, *, most_characters: int = MOST_CHARACTERS, streams: Collection[str] = ()
    ) -> None:
        self.most = most
        self.most_characters = most_characters
        self.streams = frozenset(streams)
        self.inner: set[tuple[str, str]] = set()
        self.first = 0
        self.dropped = 0
        self.characters = 0
        self.changes = 0
        self.last_id = 0
        self.growth = 0
        self.grown: deque[int] = deque(maxlen=4096)
        self.texts: list[str] = []
        self.levels = array("b")
        self.agents = array("i")
        self.tasks: list[str] = []
        self.steps: list[str] = []
        self.names: list[str] = []
        self._at = array("d")
        self._attempts = array("i")
        self._of_agent: list[array[int]] = []
        self._agent_numbers: dict[str, int] = {}
        self._level_names: list[str] = []
        self._level_numbers: dict[str, int] = {}
        self._places: dict[tuple[str, str], tuple[str, str, int]] = {}
        self._open: dict[tuple[str, str, int, str], int] = {}

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def next(self) -> int:
        return self.first + len(self.texts)

    def line(self, number: int) -> CleanLine:
        """A line by its number. Raises IndexError for one that was dropped."""
        i = number - self.first
        if i < 0:
            raise IndexError(number)
        agent = self.agents[i]
        return CleanLine(
            number,
            self._at[i],
            self.names[agent] if agent >= 0 else "",
            self.tasks[i],
            self.steps[i],
            self._attempts[i],
            self._level_names[self.levels[i]],
            self.texts[i],
        )

    def numbers(self, agent: str = "") -> Sequence[int]:
        """The numbers of an agent's lines, rising; of all lines if it is empty. Grows with the store."""
        if not agent:
            return range(self.first, self.next)
        index = self._agent_numbers.get(agent)
        return array("q") if index is None else self._of_agent[index]

    def agent_number(self, agent: str) -> int:
        """The number of an agent in `agents`; -1 where it has no lines."""
        return self._agent_numbers.get(agent, -1)

    def ranks(self) -> list[int]:
        """The weight of each level, by its number in `levels`."""
        return [RANKS.get(name, RANKS["info"]) for name in self._level_names]

    # Adding lines ------------------------------------------------------------------------------------------

    def append(self, rows: Iterable[LogLine]) -> None:
        """Add lines. Those with an id that was added before are left out."""
        places, streams = self._places, self.streams
        for row in rows:
            if row.id <= self.last_id:
                continue
            self.last_id = row.id
            place = places.get((row.task, row.step)) or self._place(row.task, row.step)
            text = steady(row.text)
            level = self._level(row.level)
            name = self.names[place[2]]
            if streams and name in streams and row.level == "info":
                self._piece(row, place, level, text)
            elif self.inner and (said_by := self.said_by(name, text)):
                self._piece(row, place, level, text, said_by)
            else:
                self._add(row.at, place, row.attempt, level, text)
        self.changes += 1
        self._trim()

    def gap(self, count: int) -> None:
        """Note in every agent's log, at this place, that so many lines were not read."""
        self.dropped += count
        at = self._at[-1] if self._at else 0.0
        number = self.next
        self._add(at, ("", "", -1), 0, self._level(GAP), f"… {count:,} lines dropped")
        for index in self._of_agent:
            index.append(number)
        self.changes += 1

    def _add(self, at: float, place: tuple[str, str, int], attempt: int, level: int, text: str) -> None:
        task, step, agent = place
        if agent >= 0:
            self._of_agent[agent].append(self.first + len(self.texts))
        self.texts.append(text)
        self.levels.append(level)
        self.agents.append(agent)
        self.tasks.append(task)
        self.steps.append(step)
        self._at.append(at)
        self._attempts.append(attempt)
        self.characters += len(text)

    def said_by(self, agent: str, text: str) -> str:
        """What a line of an agent begins with that an inner step said: its name and a colon; empty for others."""
        name, colon, _ = text[:LONGEST_NAME].partition(": ")
        return name + colon if colon and (agent, name) in self.inner else ""

    def _piece(self, row: LogLine, place: tuple[str, str, int], level: int, text: str, said_by: str = "") -> None:
        key = (place[0], place[1], row.attempt, said_by)
        number = self._open.get(key, -1)
        i = number - self.first
        if i >= 0 and self.texts[i].endswith(" ") and len(self.texts[i]) + len(text) < JOINED:
            more = text[len(said_by) :]
            self.texts[i] += more
            self.characters += len(more)
            self.grown.append(number)
            self.growth += 1
            return
        self._open.pop(key, None)
        self._open[key] = self.next
        if len(self._open) > STREAMS:
            del self._open[next(iter(self._open))]
        self._add(row.at, place, row.attempt, level, text)

    def _place(self, task: str, step: str) -> tuple[str, str, int]:
        """Task, step and agent of a line, cached. A full cache is cleared: it must not grow with tasks."""
        if len(self._places) >= 32_768:
            self._places.clear()
        name = steady(agent_of(task, step))
        agent = self._agent_numbers.get(name)
        if agent is None:
            agent = self._agent_numbers[name] = len(self.names)
            self.names.append(name)
            self._of_agent.append(array("q"))
        place = (steady(task), sys.intern(steady(step)), agent)
        self._places[task, step] = place
        return place

    def _level(self, name: str) -> int:
        number = self._level_numbers.get(name)
        if number is None:
            if len(self._level_names) >= 100:
                return self._level("info")
            number = self._level_numbers[name] = len(self._level_names)
            self._level_names.append(steady(name)[:12])
        return number

    def _trim(self) -> None:
        """Drop the oldest lines, many at a time, when the store is well over its bounds."""
        over = len(self.texts) - self.most
        count = over if over > self.most // 16 else 0
        if self.characters > self.most_characters:
            spare, goal = 0, self.characters - self.most_characters * 15 // 16
            for i, text in enumerate(self.texts):
                spare += len(text)
                if spare >= goal:
                    count = max(count, i + 1)
                    break
        if not count:
            return
        self.characters -= sum(map(len, self.texts[:count]))
        for column in (self.texts, self.tasks, self.steps):
            del column[:count]
        for numbers in (self.levels, self.agents, self._at, self._attempts):
            del numbers[:count]
        self.first += count
        self.dropped += count
        for index in self._of_agent:
            del index[: bisect_left(index, self.first)]
