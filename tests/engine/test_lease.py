"""Runs in a process that lives on, and runs of other machines: when they can be resumed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from agentdeck import Workflow
from agentdeck.engine.resume import Resume, resume
from agentdeck.errors import UsageError
from agentdeck.store import lease
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing

pytestmark = pytest.mark.anyio


async def broken_off(made: Workflow, begun: asyncio.Event, db: Path) -> str:
    """A run that is cancelled once an agent of it has begun, in a process that lives on, as a notebook does."""
    running = asyncio.create_task(made.run(db=db))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    reader = Reader(db)
    (row,) = reader.runs()
    reader.close()
    assert row.state == "interrupted"
    return row.run


def waits_once() -> tuple[Workflow, asyncio.Event]:
    """Its agent waits for long the first time, and not at all after that."""
    made, begun = Workflow("slow"), asyncio.Event()

    @made.agent
    async def work() -> int:
        first = not begun.is_set()
        begun.set()
        await asyncio.sleep(60 if first else 0)
        return 7

    return made, begun


async def test_a_run_that_was_broken_off_in_a_living_process_can_be_resumed(tmp_path: Path) -> None:
    made, begun = waits_once()
    run = await broken_off(made, begun, tmp_path / "a.db")
    outcome = await resume(Resume(run, tmp_path / "a.db", made.functions))
    assert outcome.state == "done"


@pytest.mark.parametrize("renewed", [True, False])
async def test_a_lease_of_another_machine_is_observed_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renewed: bool
) -> None:
    monkeypatch.setattr(lease, "UNRENEWED", 0.6)
    monkeypatch.setattr("agentdeck.engine.resume.LOOK", 0.05)
    made, begun = waits_once()
    run = await broken_off(made, begun, tmp_path / "a.db")
    connection = open_for_writing(tmp_path / "a.db")
    connection.execute(
        "UPDATE runs SET owner = 'o', pid = 1, host = 'away', machine = 'away', process_start = '1',"
        " lease_until = ?",
        (time.time() - 5,),
    )
    resuming = asyncio.create_task(resume(Resume(run, tmp_path / "a.db", made.functions)))
    await asyncio.sleep(0.2)
    assert not resuming.done(), "its clock may be behind"
    if renewed:
        connection.execute("UPDATE runs SET lease_until = lease_until + 1")
        with pytest.raises(UsageError, match="is running in process 1 on away"):
            await resuming
    else:
        assert (await resuming).state == "done"
    connection.close()
