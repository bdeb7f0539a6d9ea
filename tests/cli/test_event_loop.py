"""The loop of a process that executes a run: uvloop's where it is installed, else asyncio's."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator

import pytest

from agentdeck.cli.run_process import new_runner


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


async def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_uvloop_is_used_where_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    with new_runner() as runner:
        assert isinstance(runner.run(loop()), uvloop.Loop)


def test_asyncio_is_used_where_uvloop_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # its import fails
    with new_runner() as runner:
        assert type(runner.run(loop())).__module__.startswith("asyncio.")
