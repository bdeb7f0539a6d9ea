"""Arguments of the API that are of the wrong kind are named at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentdeck import UsageError, open_store
from tests.api.shop import shop, slow

pytestmark = pytest.mark.anyio


class Asynchronous:
    async def observe(self, batch: Any) -> None: ...

    def close(self) -> None: ...


OBSERVER = "has to be an observer: an object with the methods observe and close, which are not async"
RUN: list[tuple[dict[str, Any], str]] = [
    ({"workers": "4"}, "workers='4': it has to be a whole number"),
    ({"workers": 1.5}, "workers=1.5: it has to be a whole number"),
    ({"workers": True}, "workers=True: it has to be a whole number"),
    ({"keep": "a"}, "keep='a': it has to be a whole number, 0 or more"),
    ({"db": 3}, "db=3: it has to be the path of a store"),
    ({"observers": 5}, "observers=5: it has to be a list, of which each is an observer"),
    ({"observers": print}, "observers=<built-in function print>: it has to be a list"),
    ({"observers": [5]}, f"observers: 5 {OBSERVER}"),
    ({"observers": [Asynchronous()]}, OBSERVER),
    ({"tags": "test"}, "tags='test': it has to be a list, of which each is text"),
    ({"tags": [1]}, "tags: 1 has to be text"),
    ({"answers": 5}, "answers=5: it has to be a function that gets a question"),
    ({"wait": "no"}, "wait='no': it has to be True or False"),
]


@pytest.mark.parametrize(("given", "message"), RUN)
async def test_an_argument_of_a_run_is_named(given: dict[str, Any], message: str) -> None:
    for start in (shop().run, shop().start):
        with pytest.raises(UsageError, match=re.escape(message)):
            start(text="x", **given)
    with pytest.raises(UsageError, match="given='x': it has to be a map of inputs by name"):
        await shop().run("x")  # type: ignore[arg-type]


async def test_what_can_be_read_once_is_taken() -> None:
    assert (await shop().run(text="x", tags=(tag for tag in ("a", "b")), observers=iter(()))).state == "done"


STORE: list[tuple[Callable[[Any], Any], str]] = [
    (lambda store: store.run(None), "run=None: it has to be the id of a run"),
    (lambda store: store.runs(since="1h"), "since='1h': it has to be a datetime, or seconds since the epoch"),
    (lambda store: store.runs(until=float("nan")), "until=nan: it has to be a datetime"),
    (lambda store: store.runs(state="nope"), "state='nope': it has to be one of running, paused, interrupted"),
    (lambda store: store.runs(limit=-1), "limit=-1: it has to be a whole number, 0 or more"),
    (lambda store: store.dead_letters(state="done"), "state='done': it has to be one of open, retried"),
    (lambda store: store.task("last", 1.0), "task=1.0: it has to be the number of a task"),
]


@pytest.mark.parametrize(("ask", "message"), STORE)
async def test_an_argument_of_a_store_is_named(tmp_path: Path, ask: Callable[[Any], Any], message: str) -> None:
    async with open_store(tmp_path / "runs.db") as store:
        with pytest.raises(UsageError, match=re.escape(message)):
            ask(store)


async def test_the_start_of_runs_is_bounded_by_a_datetime_or_by_seconds(tmp_path: Path) -> None:
    await shop().run(text="x", db=tmp_path / "runs.db")
    now = datetime.now(UTC) + timedelta(minutes=1)
    async with open_store(tmp_path / "runs.db") as store:
        assert len(await store.runs(since=now - timedelta(hours=1), until=now)) == 1
        assert await store.runs(since=now) == await store.runs(since=now.timestamp()) == []


async def test_tasks_are_named_by_numbers_or_by_text(tmp_path: Path) -> None:
    db, gate = tmp_path / "runs.db", asyncio.Event()
    async with slow(gate).start(tasks=[{"n": 1}, {"n": 2}], db=db) as run:
        async for event in run.events():
            if event.kind == "step_started" and event.task == "2":
                break
        await run.cancel(1, "work")
        gate.set()
        await run.wait()
        async with open_store(db) as store:
            assert (await store.task("last", 2)).output == (await store.task("last", "2")).output == 2
            assert (await store.step("last", 1, "work")).state == "cancelled"
            assert list(await store.steps("last", 2)) == ["work"]


async def test_limits_are_of_their_kind() -> None:
    gate = asyncio.Event()
    async with slow(gate).start() as run:
        with pytest.raises(UsageError, match="name=None: it has to be text"):
            await run.set_limit(None, 3)  # type: ignore[arg-type]
        for value in (3.7, True, float("nan")):
            with pytest.raises(UsageError, match=f"workers={value} is out of range: 0 to 10000, a whole number"):
                await run.set_limit("workers", value)
        for value in (float("nan"), float("inf"), -1):
            with pytest.raises(UsageError, match=f"timeout={value} is out of range: 1ms to 30d"):
                await run.set_limit("agents.work.timeout", value)
        await run.set_limit("agents.work.timeout", 2.5)
        gate.set()
