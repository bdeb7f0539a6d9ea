"""Prints and log records go to whose they are."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio.to_thread
import pytest

from agentdeck.agents.output_capture import LONGEST, AttemptOutput, capture, current

pytestmark = pytest.mark.anyio


@contextmanager
def attempt(said: list[Any]) -> Iterator[AttemptOutput]:
    voice = AttemptOutput(lambda text, level="info": said.append((text, level)))
    token = current.set(voice)
    try:
        yield voice
    finally:
        voice.finish()
        current.reset(token)


def streams(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Called in the test itself: between a fixture and its test, pytest puts its own streams back."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_lines_go_to_the_attempt_and_the_rest_to_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    real = streams(monkeypatch)
    said: list[Any] = []
    with capture():
        print("before")
        with attempt(said):
            print("a", end="")
            print("b")
            print("no end", end="")
            print("bad", file=sys.stderr)
            assert not sys.stdout.isatty()
            sys.stdout.flush()
            sys.stdout.buffer.write(b"bytes\n")
            sys.stdout.close()
            with pytest.raises(TypeError):
                sys.stdout.write(b"x")  # type: ignore[arg-type]
        print("after")
    assert said == [("ab", "out"), ("bad", "err"), ("no endbytes", "out")]
    assert real.getvalue() == "before\nafter\n"


def test_nesting_restores_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    real = streams(monkeypatch)
    handlers = list(logging.getLogger().handlers)
    with capture():
        inner = sys.stdout
        with capture():
            assert sys.stdout is inner
        assert sys.stdout is inner
    assert sys.stdout is real
    assert sys.stderr is real
    assert logging.getLogger().handlers == handlers
    with pytest.raises(ZeroDivisionError), capture():
        _ = 1 / 0
    assert sys.stdout is real


def test_a_line_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    streams(monkeypatch)
    said: list[Any] = []
    with capture(), attempt(said):
        for _ in range(3):
            print("x" * (LONGEST // 2), end="")
        assert [len(text) for text, _ in said] == [LONGEST + LONGEST // 2]
        print("y", end="")
    assert said[-1] == ("y", "out")


async def test_many_attempts_in_tasks_and_threads_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    real = streams(monkeypatch)

    def work(name: str) -> None:
        for i in range(20):
            print(name, end=" ")
            print(i)

    async def one(name: str, said: list[Any]) -> None:
        with attempt(said):
            await anyio.to_thread.run_sync(work, name)
            for i in range(20):
                print(name, end=" ")
                await asyncio.sleep(0)
                print(i)

    logs: dict[str, list[Any]] = {f"n{i}": [] for i in range(20)}
    with capture():
        await asyncio.gather(*(one(name, said) for name, said in logs.items()))
    for name, said in logs.items():
        assert [text for text, _ in said] == [f"{name} {i}" for i in range(20)] * 2
    assert real.getvalue() == ""


def test_threads_of_one_attempt_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    streams(monkeypatch)
    said: list[Any] = []
    with capture(), attempt(said) as voice:

        def work() -> None:
            current.set(voice)
            for _ in range(500):
                sys.stdout.write("x")
                sys.stdout.write("\n")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(text.count("x") for text, _ in said) == 4000


def test_log_records(monkeypatch: pytest.MonkeyPatch) -> None:
    real = streams(monkeypatch)
    said: list[Any] = []
    logger = logging.getLogger("agents.own")
    root = logging.getLogger()
    before = root.handlers[:]
    terminal = logging.StreamHandler(sys.stderr)
    root.handlers[:] = [terminal]
    try:
        with capture():
            logger.warning("outside")
            with attempt(said):
                logger.warning("inside %d", 1)
                logger.error("bad %d", "no number")
            logger.warning("again")
        assert not terminal.filters
        assert root.handlers == [terminal]
    finally:
        root.handlers[:] = before
    assert said[0] == ("inside 1", "warning")
    assert said[1][0].startswith("a log record could not be formatted")
    assert real.getvalue() == "outside\nagain\n"


def test_records_outside_are_seen_where_nothing_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    real = streams(monkeypatch)
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = []
    try:
        with capture():
            logging.getLogger("agents.own").warning("seen")
            logging.getLogger("agents.own").info("not seen")
    finally:
        root.handlers[:] = before
    assert real.getvalue() == "seen\n"
