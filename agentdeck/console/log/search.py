"""Searches log lines for a pattern of the operator in a thread, with a time limit.

`re` never gives up: `(a|aa)+$` on one line of 60 characters runs for hours, and it keeps the interpreter's lock
meanwhile, so no key is read. The `regex` package has a timeout and can release that lock. Measured with such a
pattern: a thread that wakes up each millisecond was late by 1,180 ms without `concurrent`, by 24 ms with it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import regex

LIMIT = 1.0  # seconds of processor time for one chunk of lines
MARKING = 0.1  # the same for the places to highlight in one line
LONGEST = 1_000  # characters of a pattern
MOST = 20_000  # characters that a pattern may stand for once its counts are written out
MARKS = 200  # places that are highlighted in one line
KEPT = 2_000  # lines whose highlighted places are remembered
TOO_LONG = f"this pattern takes too long: stopped after {LIMIT:g} s"

Pattern: TypeAlias = "regex.Pattern[str]"


def compiled(pattern: str) -> Pattern:
    """Compile a pattern; without a capital letter it ignores case. Raises regex.error."""
    if len(pattern) > LONGEST or expanded(pattern) > MOST:
        raise regex.error("it is too large")
    return regex.compile(pattern, regex.V0 | (0 if any(c.isupper() for c in pattern) else regex.IGNORECASE))


def expanded(pattern: str) -> int:
    """About how many characters the pattern has with its counts written out: `(ab{3}){10}` has 40.

    Compiling writes them out, and no timeout applies to that: `((a{1000}){1000}){1000}` takes all memory.
    """
    totals, last, at = [0], 0, 0  # of each open group; of the last item, which is counted already
    while at < len(pattern):
        character = pattern[at]
        if character == "(":
            totals.append(0)
        elif character == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        elif character == "{" and (count := _count(pattern, at)):
            totals[-1] += last * (count - 1)
            last *= count
            at = pattern.find("}", at)
        else:
            if character == "\\":
                at += 1
            elif character == "[":
                at = max(at, pattern.find("]", at + 2))
            last = 1
            totals[-1] += last
        at += 1
    return sum(totals)


def _count(pattern: str, at: int) -> int:
    """The least count of `{3}` or `{3,}`; 0 where the bracket begins no count, as while it is typed."""
    end = pattern.find("}", at)
    least = pattern[at + 1 : end].partition(",")[0] if end > at else ""
    return max(1, int(least)) if least.isdecimal() and len(least) < 9 else 0


class Chunk(NamedTuple):
    """Lines to search, by number. `again`: lines that grew after they were searched."""

    numbers: Sequence[int]
    texts: Sequence[str]
    again: bool = False


class SearchResult(NamedTuple):
    """The numbers of a chunk's lines that match."""

    chunk: Chunk
    fitting: frozenset[int]


class Search:
    """One pattern over many lines. All methods are called on the loop and return at once.

    Chunks are searched in order; `found` takes what is finished. `stopped`: a chunk took longer than LIMIT, and
    the rest is not searched. The thread exists only while there is work, and never outlives the limit by much.
    """

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.stopped = False
        self.marked = 0
        self._todo: deque[Chunk] = deque()
        self._found: deque[SearchResult] = deque()
        self._to_mark: OrderedDict[str, None] = OrderedDict()
        self._marks: OrderedDict[str, list[tuple[int, int]]] = OrderedDict()
        self._lock = threading.Lock()
        self._working = self._closed = False

    def look(self, chunk: Chunk) -> None:
        """Queue a chunk."""
        self._todo.append(chunk)
        self._work()

    def found(self) -> list[SearchResult]:
        """The results since the last call, in order."""
        return [self._found.popleft() for _ in range(len(self._found))]

    def marks(self, text: str) -> Sequence[tuple[int, int]]:
        """Where the pattern matches in a text. Empty until that is known: then `marked` rises."""
        known = self._marks.get(text)
        if known is None and not self.stopped:
            self._to_mark[text] = None
            self._work()
        return known or ()

    def close(self) -> None:
        """Stop searching."""
        self._closed = True

    def _work(self) -> None:
        with self._lock:
            if self._working or self._closed or self.stopped:
                return
            self._working = True
        threading.Thread(target=self._run, name="agentdeck-search", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closed or self.stopped or not (self._to_mark or self._todo):
                    self._working = False
                    return
            if self._to_mark:
                self._mark(self._to_mark.popitem(last=False)[0])
            else:
                self._search(self._todo[0])

    def _search(self, chunk: Chunk) -> None:
        fitting = []
        until = time.thread_time() + LIMIT
        try:
            for number, text in zip(chunk.numbers, chunk.texts, strict=True):
                left = until - time.thread_time()
                if left <= 0:
                    raise TimeoutError
                if self._closed:
                    return
                if self.pattern.search(text, timeout=left, concurrent=True) is not None:
                    fitting.append(number)
        except (TimeoutError, MemoryError):
            self.stopped = True
        else:
            self._found.append(SearchResult(chunk, frozenset(fitting)))
            self._todo.popleft()

    def _mark(self, text: str) -> None:
        places: list[tuple[int, int]] = []
        try:
            for match in self.pattern.finditer(text, timeout=MARKING, concurrent=True):
                if match.end() > match.start():
                    places.append(match.span())
                if len(places) >= MARKS:
                    break
        except (TimeoutError, MemoryError):
            places = []
        if len(self._marks) >= KEPT:
            self._marks.popitem(last=False)
        self._marks[text] = places
        self.marked += 1
