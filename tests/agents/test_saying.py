"""A model's words in the log: as they come, in whole words, and not one line for each."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from agentdeck.agents.prompt_log import TextLog
from agentdeck.agents.verb import AttemptContext
from agentdeck.workflow.model import Agent, Prompt
from tests.virtual_clock import virtual


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.lives = 0
        scope: Mapping[str, object] = {}
        self.work = AttemptContext("r", "1", "a", 1, Agent("a", Prompt("x")), scope, {}, self.log, self.alive)

    def log(self, text: str, level: str = "info") -> None:
        self.lines += text.splitlines()

    def alive(self) -> None:
        self.lives += 1


def played(pieces: list[tuple[float, str]]) -> Heard:
    """What is heard of pieces that come after so many seconds each."""
    heard = Heard()

    async def play() -> None:
        saying = TextLog(heard.work.log, heard.work.alive)
        for wait, piece in pieces:
            await anyio.sleep(wait)
            saying(piece)
        await anyio.sleep(5)
        heard.lines.append("|")
        saying.close()

    anyio.run(play, backend_options=virtual())
    return heard


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([(0, "a "), (0.01, "b"), (0.01, "c d")], ["a bc ", "|", "d"]),
        ([(0, "one two\nthree "), (0, "four\nfi"), (0, "ve")], ["one two", "three four", "|", "five"]),
        ([(0.03, f"w{at} ") for at in range(8)], ["w0 w1 w2 w3 ", "w4 w5 w6 w7 ", "|"]),
        ([(0, "a "), (3, "b ")], ["a ", "b ", "|"]),
        ([(0, "x" * 300)], ["x" * 300, "|"]),
        ([(0, "\n\n"), (0, "")], ["|"]),
    ],
)
def test_text_is_said_in_lines(pieces: list[tuple[float, str]], lines: list[str]) -> None:
    heard = played(pieces)
    assert heard.lines == lines
    assert heard.lives == len(pieces)
