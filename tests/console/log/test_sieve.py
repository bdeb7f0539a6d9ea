"""What a sieve lets through, and that it takes no more time than it was given."""

from __future__ import annotations

import time

import pytest
import regex

from agentdeck.console.log.line_filter import CHUNK, Sieve, Wanted
from agentdeck.console.log.lines import RANKS, LineStore
from agentdeck.console.log.search import compiled, expanded
from tests.console.log.samples import row, rows


def finish(sieve: Sieve) -> bool:
    """Let the sieve look at all lines. Whether its rows changed."""
    changed = sieve.advance(1.0)
    while sieve.searching:
        time.sleep(0.001)
        changed |= sieve.advance(1.0)
    return changed


def all_of(sieve: Sieve) -> list[str]:
    finish(sieve)
    return [sieve.lines.line(number).text for number in sieve.rows]


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
    sieve = Sieve(lines, Wanted())
    assert sieve.left == 0
    assert list(sieve.rows) == list(range(1000))
    lines.append(rows(["more"], 2000))
    assert len(sieve.rows) == 1001


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(agents=frozenset(["two"])), lambda i: i % 3 == 1),
        (Wanted(agents=frozenset(["two", "three"])), lambda i: i % 3 != 0),
        (Wanted(level=RANKS["warning"]), lambda i: i % 4 >= 2),
        (Wanted(task="7"), lambda i: i // 10 == 7),
        (Wanted(step="three"), lambda i: i % 3 == 2),
        (Wanted(pattern="9$"), lambda i: i % 10 == 9),
        (Wanted(pattern="LINE"), lambda i: False),
        (Wanted(pattern="ine 1.$"), lambda i: 10 <= i < 20),
        (
            Wanted(frozenset(["one"]), level=RANKS["error"], pattern="line [45]"),
            lambda i: i % 3 == 0 and i % 4 == 3 and str(i)[0] in "45",
        ),
    ],
)
def test_only_what_is_wanted(lines: LineStore, wanted: Wanted, fits: object) -> None:
    assert callable(fits)
    assert all_of(Sieve(lines, wanted)) == [f"line {i}" for i in range(1000) if fits(i)]


def test_a_task_stands_for_those_below_it() -> None:
    lines = LineStore()
    lines.append([row(1, "a", task="1"), row(2, "b", task="1/review"), row(3, "c", task="11")])
    assert all_of(Sieve(lines, Wanted(task="1"))) == ["a", "b"]


def test_lines_around_a_match_are_shown_once_and_are_no_matches(lines: LineStore) -> None:
    sieve = Sieve(lines, Wanted(pattern="line (500|503|700)$", around=2))
    shown = all_of(sieve)
    assert shown == [f"line {i}" for i in (*range(498, 506), *range(698, 703))]
    assert list(sieve.matches) == [500, 503, 700]
    assert sieve.fits(500)
    assert not sieve.fits(501)
    assert sieve.near(500, 1) == 503
    assert sieve.near(500, -1) is None


def test_a_slice_of_time_is_enough_for_a_part_only(lines: LineStore) -> None:
    sieve = Sieve(lines, Wanted(level=RANKS["debug"]))
    assert sieve.advance(0.0)
    assert len(sieve.rows) == CHUNK
    assert sieve.left == 1000 - CHUNK
    assert len(all_of(sieve)) == 1000


def test_what_comes_later_is_found_and_what_is_dropped_is_forgotten() -> None:
    lines = LineStore(100)
    sieve = Sieve(lines, Wanted(pattern="7$", around=1))
    for start in range(1, 1001, 10):
        lines.append(rows((f"line {i}" for i in range(start, start + 10)), start))
        finish(sieve)
    kept = range(lines.first, lines.next)
    assert list(sieve.matches) == [n for n in kept if lines.line(n).text.endswith("7")]
    assert all(number in kept for number in sieve.rows)


def test_a_line_that_grows_until_it_fits_is_found() -> None:
    lines = LineStore(streams=["write"])
    sieve = Sieve(lines, Wanted(pattern="the end"))
    lines.append([row(1, "this is the ", step="write"), row(2, "other")])
    finish(sieve)
    assert list(sieve.rows) == []
    lines.append([row(3, "end", step="write")])
    assert finish(sieve)
    assert list(sieve.rows) == [0]


def test_a_pattern_without_capitals_ignores_case() -> None:
    assert compiled("order").search("ORDER 1")
    assert not compiled("Order").search("order 1")
    with pytest.raises(regex.error):
        compiled("(")


def test_a_pattern_that_takes_too_long_is_stopped_and_keeps_what_it_found(lines: LineStore) -> None:
    lines.append(rows([f"aaaa {'a' * 60}c"], 2000))
    sieve = Sieve(lines, Wanted(pattern="line 7$|^aaaa (a|aa)+$"))
    began = time.monotonic()
    sieve.advance(1.0)
    assert time.monotonic() - began < 60  # with `re` it does not come back at all
    finish(sieve)
    assert sieve.fault == "this pattern takes too long: stopped after 1 s"
    assert [lines.line(number).text for number in sieve.rows] == ["line 7"]
    before = list(sieve.rows)
    assert not sieve.advance(1.0)
    assert list(sieve.rows) == before


def test_the_places_to_highlight_are_found_in_the_thread_too(lines: LineStore) -> None:
    sieve = Sieve(lines, Wanted(pattern="(a|aa)+$|line"))
    assert sieve.search is not None
    assert sieve.search.marks("a line, a line") == ()
    assert sieve.search.marks("a" * 60 + "c") == ()
    while sieve.search.marked < 2:
        time.sleep(0.001)
    assert sieve.search.marks("a line, a line") == [(2, 6), (10, 14)]
    assert sieve.search.marks("a" * 60 + "c") == ()


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
