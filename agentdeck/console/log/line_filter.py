"""Which lines are shown: by agent, task, level and a pattern with lines around it, looked for in slices of time.

A filter never takes longer than its slice, so a million lines delay no frame; the pattern itself is
searched in a thread (`search.py`). Without anything to look for it holds nothing: the store's own index is what
is shown.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from time import perf_counter

from agentdeck.console.log.lines import RANKS, LineStore
from agentdeck.console.log.search import TOO_LONG, Chunk, Search, compiled

CHUNK = 128  # lines between two checks of the clock, and that are searched under one time limit
CHARACTERS = 65_536  # the same, of their texts
AHEAD = 32_768  # lines that are given to the search before it has answered


@dataclass(frozen=True, slots=True)
class LineQuery:
    """What to show. Empty fields mean all. `task` stands for its nested tasks as well; `level` is the least
    weight (`RANKS`); `around` lines are shown before and after each that fits the `pattern`."""

    agents: frozenset[str] = frozenset()
    task: str = ""
    step: str = ""
    level: int = 0
    pattern: str = ""
    around: int = 0


class LineFilter:
    """The numbers of the lines that are wanted, rising: `rows`; those of them that fit the pattern: `matches`
    (all, where there is none)."""

    def __init__(self, lines: LineStore, wanted: LineQuery) -> None:
        self.lines = lines
        self.wanted = wanted
        self.search = Search(compiled(wanted.pattern)) if wanted.pattern else None
        self._agent = next(iter(wanted.agents)) if len(wanted.agents) == 1 else ""
        self._plain = not (self.search or wanted.task or wanted.step or wanted.level or len(wanted.agents) > 1)
        self._rows = array("q")
        self._matches = array("q")
        self._reached = self._searched = lines.first
        self._asked = 0
        self._growth = lines.growth
        self._before: deque[int] = deque(maxlen=wanted.around)
        self._after = 0

    @property
    def rows(self) -> Sequence[int]:
        return self.lines.numbers(self._agent) if self._plain else self._rows

    @property
    def matches(self) -> Sequence[int]:
        return self.rows if self._plain or not self.wanted.around else self._matches

    @property
    def left(self) -> int:
        """How many lines were not filtered yet."""
        reached = self._reached if self.search is None else self._searched
        return 0 if self._plain else self.lines.next - max(reached, self.lines.first)

    @property
    def searching(self) -> bool:
        """Whether more rows may come without new lines."""
        return not self.fault and (self.left > 0 or self._asked > 0)

    @property
    def fault(self) -> str:
        """Why the search ended before all lines were searched; empty where it did not."""
        return TOO_LONG if self.search is not None and self.search.stopped else ""

    def close(self) -> None:
        """Stop the search."""
        if self.search is not None:
            self.search.close()

    def fits(self, number: int) -> bool:
        """Whether a shown line itself matches, and is not only near a match."""
        if self._plain or not self.wanted.around:
            return True
        at = bisect_left(self._matches, number)
        return at < len(self._matches) and self._matches[at] == number

    def near(self, number: int, step: int) -> int | None:
        """The next match after a line (`step` 1) or before it (-1); None if there is none."""
        found = self.matches
        at = bisect_right(found, number) if step > 0 else bisect_left(found, number) - 1
        return found[at] if 0 <= at < len(found) else None

    def advance(self, seconds: float) -> bool:
        """Filter more lines, for about so many seconds. Returns whether `rows` changed."""
        if self._plain:
            return False
        lines = self.lines
        changed = self._forget()
        had = len(self._rows)
        if (search := self.search) is not None:
            changed |= self._collect(search)
            if lines.growth != self._growth:
                self._look_again()
            if search.stopped:
                return changed or len(self._rows) != had
        self._growth = lines.growth
        source = lines.numbers(self._agent)
        at, until = bisect_left(source, self._reached), perf_counter() + seconds
        keep = self._keep()
        while at < len(source) and self._asked < AHEAD:
            chunk = source[at : at + CHUNK]
            at += len(chunk)
            self._take([number for number in chunk if keep(number)])
            self._reached = chunk[-1] + 1
            if perf_counter() > until:
                break
        if at >= len(source):
            self._reached = lines.next
        if not self._asked:
            self._searched = self._reached
        return changed or len(self._rows) != had

    def _take(self, numbers: list[int]) -> None:
        """Lines that are wanted, but for the pattern: shown, or given to the search."""
        if self.search is None:
            self._rows.extend(numbers)
            return
        texts, first = self.lines.texts, self.lines.first
        part: list[int] = []
        size = 0
        for number in numbers:
            part.append(number)
            size += len(texts[number - first])
            if size >= CHARACTERS:
                self._look(part)
                part, size = [], 0
        self._look(part)

    def _look(self, numbers: list[int], *, again: bool = False) -> None:
        if numbers and self.search is not None:
            texts, first = self.lines.texts, self.lines.first
            self._asked += len(numbers)
            self.search.look(Chunk(numbers, [texts[number - first] for number in numbers], again))

    def _collect(self, search: Search) -> bool:
        """Take in what the search has found. Whether lines that grew fit now."""
        changed = False
        for chunk, fitting in search.found():
            self._asked -= len(chunk.numbers)
            if chunk.again:
                changed |= self._put_grown(fitting)
            else:
                self._searched = chunk.numbers[-1] + 1
                self._add(chunk.numbers, fitting)
        return changed

    def _add(self, numbers: Sequence[int], fitting: Set[int]) -> None:
        """Those lines of a chunk that fit the pattern, with what is around them."""
        around, first = self.wanted.around, self.lines.first
        for number in numbers:
            if number < first:
                continue
            if number in fitting:
                self._rows.extend(self._before)
                self._before.clear()
                self._rows.append(number)
                if around:
                    self._matches.append(number)
                self._after = around
            elif self._after:
                self._rows.append(number)
                self._after -= 1
            else:
                self._before.append(number)

    def _keep(self) -> Callable[[int], bool]:
        """The test of everything but the pattern and the one agent."""
        lines, wanted = self.lines, self.wanted
        first, levels, tasks, steps, agents = lines.first, lines.levels, lines.tasks, lines.steps, lines.agents
        heavy = [rank >= wanted.level for rank in lines.ranks()]
        chosen = {-1, *(lines.agent_number(name) for name in wanted.agents)} if len(wanted.agents) > 1 else None
        task, below, step = wanted.task, wanted.task + "/", wanted.step

        def keep(number: int) -> bool:
            i = number - first
            if not heavy[levels[i]]:
                return False
            agent = agents[i]
            if chosen is not None and agent not in chosen:
                return False
            if agent < 0:
                return True
            if task and tasks[i] != task and not tasks[i].startswith(below):
                return False
            return not step or steps[i] == step

        return keep

    def _forget(self) -> bool:
        """Numbers of lines that the store dropped are dropped here."""
        first = self.lines.first
        self._reached = max(self._reached, first)
        while self._before and self._before[0] < first:
            self._before.popleft()
        if not self._rows or self._rows[0] >= first:
            return False
        del self._rows[: bisect_left(self._rows, first)]
        del self._matches[: bisect_left(self._matches, first)]
        return True

    def _look_again(self) -> None:
        """Search again the lines that grew since, without the lines around them."""
        lines, keep = self.lines, self._keep()
        count = min(lines.growth - self._growth, len(lines.grown))
        recent = {lines.grown[-i] for i in range(1, count + 1)}
        agent = lines.agent_number(self._agent) if self._agent else None
        grown = [
            number
            for number in sorted(recent)
            if lines.first <= number < self._reached
            and keep(number)
            and (agent is None or lines.agents[number - lines.first] == agent)
        ]
        self._look(grown, again=True)

    def _put_grown(self, fitting: Set[int]) -> bool:
        found = False
        for number in fitting:
            if number >= self.lines.first:
                found |= _put(self._rows, number)
                if self.wanted.around:
                    _put(self._matches, number)
        return found


def _put(numbers: array[int], number: int) -> bool:
    at = bisect_left(numbers, number)
    if at < len(numbers) and numbers[at] == number:
        return False
    numbers.insert(at, number)
    return True


def level_below(level: int) -> str:
    """The name of a least level."""
    return next(name for name, rank in RANKS.items() if rank == level) if level else "all"
