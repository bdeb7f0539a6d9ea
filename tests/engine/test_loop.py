"""The loop of a process that is ours: it does what asyncio's does, one thing after the other."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Workflow
from agentdeck.engine import loop as loop_module
from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.engine.loop import own_runner
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import loads


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with own_runner() as runner:
        runner.run(asyncio.wait_for(scene(), 10))


def test_what_comes_together_is_handled_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "AT_HAND", 60.0)

    async def scene() -> None:
        loop, pairs, log = asyncio.get_running_loop(), [socket.socketpair() for _ in range(5)], list[str]()
        done = asyncio.Event()

        async def turns(n: int) -> None:
            for turn in range(3):
                log.append(f"{n}.{turn}")
                await asyncio.sleep(0)
            if n == 4:
                done.set()

        tasks: list[asyncio.Task[None]] = []

        def readable(n: int) -> None:
            pairs[n][0].recv(10)
            tasks.append(loop.create_task(turns(n)))

        for n, (here, there) in enumerate(pairs):
            loop.add_reader(here, readable, n)
            there.send(b"x")
        await done.wait()
        assert log == [f"{n}.{turn}" for n in range(5) for turn in range(3)]
        for here, there in pairs:
            loop.remove_reader(here)
            here.close()
            there.close()

    play(scene)


def test_one_that_has_always_more_to_read_is_in_nobodys_way() -> None:
    async def scene() -> None:
        loop, (hot, _feed), (quiet, wakes) = asyncio.get_running_loop(), socket.socketpair(), socket.socketpair()
        seen = asyncio.Event()
        _feed.send(b"x")  # never read, so it is ready for ever
        loop.add_reader(hot, lambda: None)
        loop.add_reader(quiet, seen.set)
        await asyncio.sleep(0.01)
        wakes.send(b"x")
        await seen.wait()
        for one in (hot, _feed, quiet, wakes):
            loop.remove_reader(one)
            one.close()

    play(scene)


def test_who_never_waits_is_in_nobodys_way() -> None:
    async def scene() -> None:
        loop, (quiet, wakes), seen = asyncio.get_running_loop(), socket.socketpair(), asyncio.Event()
        loop.add_reader(quiet, seen.set)
        wakes.send(b"x")
        while not seen.is_set():  # noqa: ASYNC110 - that is what it does
            await asyncio.sleep(0)
        loop.remove_reader(quiet)
        quiet.close()
        wakes.close()

    play(scene)


def test_one_that_was_closed_before_it_was_taken_out_harms_nobody() -> None:
    async def scene() -> None:
        loop, (here, there), called = asyncio.get_running_loop(), socket.socketpair(), asyncio.Event()
        number, copy = here.fileno(), os.dup(here.fileno())
        loop.add_reader(number, lambda: None)
        here.close()
        loop.remove_reader(number)
        there.send(b"x")
        await asyncio.sleep(0.01)
        loop.call_later(0.001, called.set)
        await called.wait()
        os.close(copy)
        there.close()

    play(scene)


def test_writing_hanging_up_timers_and_other_threads() -> None:
    async def scene() -> None:
        loop, (here, there) = asyncio.get_running_loop(), socket.socketpair()
        writable, gone, called, order = asyncio.Event(), asyncio.Event(), asyncio.Event(), list[int]()
        loop.add_writer(here, writable.set)
        await writable.wait()
        loop.remove_writer(here)
        loop.add_reader(here, gone.set)
        there.close()
        await gone.wait()
        loop.remove_reader(here)
        here.close()
        threading.Thread(target=lambda: loop.call_soon_threadsafe(called.set)).start()
        await called.wait()
        for n in (3, 1, 2):
            loop.call_later(n / 1000, order.append, n)
        await asyncio.sleep(0.02)
        assert order == [1, 2, 3]
        reply = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
        assert (await reply.communicate())[0] == b"hi\n"

    play(scene)


def test_what_a_step_reads_is_on_disk_before_it_starts(tmp_path: Path) -> None:
    """Also where the run writes by itself, as nothing else is under way."""
    workflow = Workflow("chain")
    for n in range(60):
        workflow.agent(name=f"a{n}", needs=[f"a{n - 1}"] if n else [])(nothing)
    found: list[tuple[str, bool]] = []
    readers: list[Reader] = []
    kept: list[int] = []

    def see(seq: int, event: ev.Event) -> None:
        if isinstance(event, ev.StepStarted) and event.step != "a0":
            readers[:] = readers or [Reader(tmp_path / "a.db")]
            need = f"a{int(event.step[1:]) - 1}"
            ended = [e for _, e in readers[0].events(event_run(readers[0])) if isinstance(e, ev.StepSucceeded)]
            found.append((event.step, need in [e.step for e in ended]))

    launch = Launch(workflow.definition, tmp_path, functions=workflow.functions, db=tmp_path / "a.db")
    with own_runner() as runner:
        outcome = runner.run(run(launch, Watch(see, kept=kept.append)))
    assert outcome.state == "done"
    assert found == [(f"a{n}", True) for n in range(1, 60)]
    assert kept == sorted(set(kept))
    assert len(kept) >= 59


def test_much_that_ends_by_itself_is_no_deep_well(tmp_path: Path) -> None:
    """Each step waits for the disk, and none runs: nothing else turns the loop."""
    text = "agentdeck: 1\nname: w\ninputs: { l: { type: list, default: [] } }\n"
    text += "agents:\n  a: { each: inputs.l, simulate: 1ms }\n"
    text += "  b: { each: a, needs: a, simulate: 1ms }\n  c: { each: b, needs: b, simulate: 1ms }\n"
    rows: list[dict[str, Any]] = [{} for _ in range(600)]
    with own_runner() as runner:
        outcome = runner.run(run(Launch(loads(text).definition, tmp_path, {}, rows, 4, db=tmp_path / "a.db")))
    assert (outcome.state, outcome.view.tasks.done) == ("done", 600)


async def nothing() -> int:
    return 1


def event_run(reader: Reader) -> str:
    (row,) = reader.runs()
    return row.run
