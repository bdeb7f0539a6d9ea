"""What an engine does must not grow with the size of its run."""

from __future__ import annotations

import gc
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck import RunFailed, Workflow
from agentdeck.engine import attempts, event_buffer
from agentdeck.scheduler.state import Step
from agentdeck.store.reader import Reader
from agentdeck.store.view_snapshots import folded_view, restore_view, save_snapshot
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import snapshot_of
from agentdeck.workflow.json_text import estimated_size
from agentdeck.workflow.model import Data, restored

pytestmark = pytest.mark.anyio


async def test_what_items_read_is_weighed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed: list[int] = []

    def count(value: Data) -> int:
        weighed.append(estimated_size(value))
        return weighed[-1]

    monkeypatch.setattr(attempts, "estimated_size", count)
    work = Workflow("work")

    @work.agent
    def names() -> list[str]:
        return ["name"] * 300

    @work.agent(needs="names", each="names")
    def upper(item: str) -> str:
        return item.upper()

    @work.agent(needs="upper")
    def count_all(upper: list[str]) -> int:
        return len(upper)

    result = await work.run()
    assert result.output == 300
    assert len(weighed) == 3  # names, the items together, count_all


async def test_ended_tasks_do_not_wait_for_the_collector() -> None:
    work = Workflow("work")

    @work.agent
    def text(n: int) -> str:
        return "x" * n

    @work.agent(needs="text")
    def size(text: str) -> int:
        return len(text)

    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) is Step for one in gc.get_objects())
        await work.run(tasks=[{"n": n} for n in range(200)], workers=4)
        after = sum(type(one) is Step for one in gc.get_objects())
    finally:
        gc.enable()
    assert after - before <= 20


async def test_a_long_run_leaves_snapshots_of_its_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_buffer, "SNAPSHOT_FROM", 50)
    monkeypatch.setattr(event_buffer, "SNAPSHOT_EVERY", 60)
    saved: list[int] = []

    def save(connection: sqlite3.Connection, run: str, seq: int, snapshot: dict[str, Data]) -> None:
        saved.append(seq)
        save_snapshot(connection, run, seq, snapshot)

    monkeypatch.setattr(event_buffer, "save_snapshot", save)
    work = Workflow("work")

    @work.agent
    def double(n: int) -> int:
        if n % 10 == 3:
            raise ValueError(n)
        return 2 * n

    db = tmp_path / "agentdeck.db"
    with pytest.raises(RunFailed):
        await work.run(tasks=[{"n": n} for n in range(60)], workers=4, db=db)
    with closing(Reader(db)) as reader:
        row = reader.run("last")
        of = restored(reader.definition(row.identity))
        last = reader.last_seq(row.run)
        assert saved[-1] == restore_view(reader, row.run, of).seq == last
        assert 2 <= len(saved) <= last / 60 + 1
        view = RunView(of)
        for seq, event in reader.events(row.run):
            view.apply(seq, event)
        assert snapshot_of(folded_view(reader, row.run, of)) == snapshot_of(view)
