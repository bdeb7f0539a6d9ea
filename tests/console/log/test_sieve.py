"""What a line_filter lets through, and that it takes no more time than it was given."""

from __future__ import annotations

import time

import pytest
import regex

from agentdeck.console.log.line_filter import CHUNK, LineFilter, LineQuery
from agentdeck.console.log.lines import RANKS, LineStore
from agentdeck.console.log.search import compiled, expanded
from tests.console.log.samples import row, rows
from tests.waiting import until


def finish(line_filter: LineFilter) -> bool:
    """Let the line_filter look at all lines. Whether its rows changed."""
    changes = []

    def done() -> bool:
        changes.append(line_filter.advance(1.0))
        return not line_filter.searching

    until(done)
    return any(changes)


def all_of(line_filter: LineFilter) -> list[str]:
    finish(line_filter)
    return [line_filter.lines.line(number).text for number in line_filter.rows]


@pytest.fixture
def lines() -> LineStore:
    made = LineStore()
    levels = ("debug", "info", "warning", "error")
    made.append(
        row(i + 1, f"line {i}", step=("one", "two", "three")[i % 3], task=str(i // 10), level=levels[i % 4])
        for i in range(1000)
    )
    return made


def test_without_a_wish_all_is_shown_at_once(lines: LineStore) -> None:
    line_filter = LineFilter(lines, LineQuery())
    assert line_filter.left == 0
    assert list(line_filter.rows) == list(range(1000))
    lines.append(rows(["more"], 2000))
    assert len(line_filter.rows) == 1001


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (LineQuery(agents=frozenset(["two"])), lambda i: i % 3 == 1),
        (LineQuery(agents=frozenset(["two", "three"])), lambda i: i % 3 != 0),
        (LineQuery(level=RANKS["warning"]), lambda i: i % 4 >= 2),
        (LineQuery(task="7"), lambda i: i // 10 == 7),
        (LineQuery(step="three"), lambda i: i % 3 == 2),
        (LineQuery(pattern="9$"), lambda i: i % 10 == 9),
        (LineQuery(pattern="LINE"), lambda i: False),
        (LineQuery(pattern="ine 1.$"), lambda i: 10 <= i < 20),
        (
            LineQuery(frozenset(["one"]), level=RANKS["error"], pattern="line [45]"),
            lambda i: i % 3 == 0 and i % 4 == 3 and str(i)[0] in "45",
        ),
    ],
)
def test_only_what_is_wanted(lines: LineStore, wanted: LineQuery, fits: object) -> None:
    assert callable(fits)
    assert all_of(LineFilter(lines, wanted)) == [f"line {i}" for i in range(1000) if fits(i)]


def test_a_task_stands_for_those_below_it() -> None:
    lines = LineStore()
    lines.append([row(1, "a", task="1"), row(2, "b", task="1/review"), row(3, "c", task="11")])
    assert all_of(LineFilter(lines, LineQuery(task="1"))) == ["a", "b"]


def test_lines_around_a_match_are_shown_once_and_are_no_matches(lines: LineStore) -> None:
    line_filter = LineFilter(lines, LineQuery(pattern="line (500|503|700)$", around=2))
    shown = all_of(line_filter)
    assert shown == [f"line {i}" for i in (*range(498, 506), *range(698, 703))]
    assert list(line_filter.matches) == [500, 503, 700]
    assert line_filter.fits(500)
    assert not line_filter.fits(501)
    assert line_filter.near(500, 1) == 503
    assert line_filter.near(500, -1) is None


def test_a_slice_of_time_is_enough_for_a_part_only(lines: LineStore) -> None:
    line_filter = LineFilter(lines, LineQuery(level=RANKS["debug"]))
    assert line_filter.advance(0.0)
    assert len(line_filter.rows) == CHUNK
    assert line_filter.left == 1000 - CHUNK
    assert len(all_of(line_filter)) == 1000


def test_what_comes_later_is_found_and_what_is_dropped_is_forgotten() -> None:
    lines = LineStore(100)
    line_filter = LineFilter(lines, LineQuery(pattern="7$", around=1))
    for start in range(1, 1001, 10):
        lines.append(rows((f"line {i}" for i in range(start, start + 10)), start))
        finish(line_filter)
    kept = range(lines.first, lines.next)
    assert list(line_filter.matches) == [n for n in kept if lines.line(n).text.endswith("7")]
    assert all(number in kept for number in line_filter.rows)


def test_a_line_that_grows_until_it_fits_is_found() -> None:
    lines = LineStore(streams=["write"])
    line_filter = LineFilter(lines, LineQuery(pattern="the end"))
    lines.append([row(1, "this is the ", step="write"), row(2, "other")])
    finish(line_filter)
    assert list(line_filter.rows) == []
    lines.append([row(3, "end", step="write")])
    assert finish(line_filter)
    assert list(line_filter.rows) == [0]


def test_a_pattern_without_capitals_ignores_case() -> None:
    assert compiled("order").search("ORDER 1")
    assert not compiled("Order").search("order 1")
    with pytest.raises(regex.error):
        compiled("(")


def test_a_pattern_that_takes_too_long_is_stopped_and_keeps_what_it_found(lines: LineStore) -> None:
    lines.append(rows([f"aaaa {'a' * 60}c"], 2000))
    line_filter = LineFilter(lines, LineQuery(pattern="line 7$|^aaaa (a|aa)+$"))
    began = time.monotonic()
    line_filter.advance(1.0)
    assert time.monotonic() - began < 60  # with `re` it does not come back at all
    finish(line_filter)
    assert line_filter.fault == "this pattern takes too long: stopped after 1 s"
    assert [lines.line(number).text for number in line_filter.rows] == ["line 7"]
    before = list(line_filter.rows)
    assert not line_filter.advance(1.0)
    assert list(line_filter.rows) == before


def test_the_places_to_highlight_are_found_in_the_thread_too(lines: LineStore) -> None:
    line_filter = LineFilter(lines, LineQuery(pattern="(a|aa)+$|line"))
    assert line_filter.search is not None
    assert line_filter.search.marks("a line, a line") == ()
    assert line_filter.search.marks("a" * 60 + "c") == ()
    search = line_filter.search
    until(lambda: search.marked >= 2)
    assert line_filter.search.marks("a line, a line") == [(2, 6), (10, 14)]
    assert line_filter.search.marks("a" * 60 + "c") == ()


@pytest.mark.parametrize(
    ("pattern", "characters"),
    [
        ("abc", 3),
        ("(ab{3}){10}", 40),
        ("[a-z]{8}-[^,]{4}", 13),
        (r"\{{2}x", 3),
        ("a{b}", 4),
        ("(a{2}){0,9}", 2),
        ("a{30", 4),
        ("(a{2,3", 5),
    ],
)
def test_counts_are_written_out_to_measure_a_pattern(pattern: str, characters: int) -> None:
    assert expanded(pattern) == characters


def test_a_pattern_that_would_take_all_memory_is_refused() -> None:
    for pattern in ("((a{1000}){1000}){1000}", "(?:(?:x?){999}){999}", "a" * 1001):
        with pytest.raises(regex.error):
            compiled(pattern)
    compiled("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
