"""The store of log lines: compact, bounded, indexed."""

from __future__ import annotations

import tracemalloc

import pytest

from agentdeck.console.log.lines import LONGEST, LineStore, agent_of, steady
from agentdeck.store.reader import LogLine
from tests.console.log.samples import row, rows


def test_a_line_costs_no_more_than_200_bytes_beyond_its_text() -> None:
    lines = LineStore()
    tracemalloc.start()
    try:
        for start in range(0, 100_000, 5000):
            batch = [
                row(i + 1, f"line {i} says something", step=f"agent{i % 10}", task=str(i))
                for i in range(start, start + 5000)
            ]
            lines.append(batch)
            del batch
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(lines) == 100_000
    assert (used - lines.characters) / len(lines) <= 200


def test_lines_keep_their_numbers_when_the_oldest_are_dropped() -> None:
    lines = LineStore(100)
    for start in range(1, 1001, 10):
        lines.append(rows((f"line {i}" for i in range(start, start + 10)), start, f"agent{start % 3}"))
    assert 100 <= len(lines) <= 106
    assert lines.dropped == 1000 - len(lines) == lines.first
    assert lines.line(lines.next - 1).text == "line 1000"
    assert [lines.line(n).text for n in range(lines.first, lines.next)] == [
        f"line {n + 1}" for n in range(lines.first, 1000)
    ]
    with pytest.raises(IndexError):
        lines.line(0)


def test_an_index_per_agent_holds_its_lines_and_no_other() -> None:
    lines = LineStore(100)
    for start in range(1, 501):
        lines.append([row(start, "text", step=f"agent{start % 3}")])
    for agent in ("agent0", "agent1", "agent2"):
        numbers = lines.numbers(agent)
        kept = range(lines.first, lines.next)
        assert list(numbers) == [n for n in kept if lines.line(n).agent == agent]
    assert list(lines.numbers("nobody")) == []


def test_so_many_characters_are_the_most() -> None:
    lines = LineStore(most_characters=10_000)
    for number in range(1, 101):
        lines.append([row(number, "x" * 1000)])
    assert lines.characters <= 10_000
    assert lines.characters == sum(map(len, lines.texts))
    assert lines.dropped == 100 - len(lines)


def test_the_same_line_is_not_taken_twice() -> None:
    lines = LineStore()
    lines.append(rows(["a", "b"]))
    lines.append(rows(["a", "b", "c"]))
    assert lines.texts == ["a", "b", "c"]


def test_a_gap_is_told_in_every_log() -> None:
    lines = LineStore()
    lines.append(rows(["a"], 1, "one") + rows(["b"], 2, "two"))
    lines.gap(1240)
    lines.append(rows(["c"], 9, "one"))
    assert [lines.line(n).text for n in lines.numbers("one")] == ["a", "… 1,240 lines dropped", "c"]
    assert [lines.line(n).text for n in lines.numbers("two")] == ["b", "… 1,240 lines dropped"]
    assert lines.dropped == 1240


@pytest.mark.parametrize(
    ("task", "step", "agent"),
    [
        ("1", "extract", "extract"),
        ("1", "notes[12]", "notes"),
        ("1/review", "security", "review/security"),
        ("1/review[3]", "notes[0]", "review/notes"),
    ],
)
def test_agents_are_named_as_screens_name_them(task: str, step: str, agent: str) -> None:
    assert agent_of(task, step) == agent


def test_streamed_pieces_are_gathered_by_attempt() -> None:
    lines = LineStore(streams=["write"])
    for number, (task, word) in enumerate([("1", "a "), ("2", "x "), ("1", "b "), ("2", "y"), ("1", "c")], 1):
        lines.append([row(number, word, step="write", task=task)])
    assert lines.texts == ["a b c", "x y"]
    lines.append([row(9, "d", step="write", attempt=2), row(10, "e", step="write", level="warning")])
    assert lines.texts == ["a b c", "x y", "d", "e"]
    assert lines.growth == 3
    lines.append([row(11, "a line of its own", step="write", task="2")])
    assert lines.texts[-1] == "a line of its own"


def test_a_long_line_is_cut_and_says_so() -> None:
    text = steady("x" * 1_000_000)
    assert len(text) < LONGEST + 50
    assert text.endswith(" … 934,464 more characters")


def test_text_is_as_wide_as_it_is_counted() -> None:
    assert steady("a\tb\x1b[31mc\x1b]52;c;eA==\x07d\u202ee\u200bf") == "a bcdef"
    assert steady("❤\ufe0f 👍🏽 1\ufe0f\u20e3 🇩🇪") == "❤ 👍 1 DE"
    assert steady("株式 é ok") == "株式 é ok"


def test_what_inner_steps_say_is_gathered_by_their_name() -> None:
    lines = LineStore()
    lines.inner = {("review", "model"), ("review", "critic")}
    said = ["model: Tea is ", "critic: No ", "model: a drink", "model: End", "note: a ", "note: b"]
    lines.append(LogLine(number, 1.0, "1", "review", 1, "info", text) for number, text in enumerate(said, 1))
    assert lines.texts == ["model: Tea is a drink", "critic: No ", "model: End", "note: a ", "note: b"]
    assert lines.said_by("review", "model: End") == "model: "
    assert lines.said_by("other", "model: End") == ""
