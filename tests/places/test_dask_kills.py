"""Workers of Dask that are killed, one after another, in one run. Long: `make test-places`."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from tests.places.dask_cluster import WORKERS, DaskCluster, wait_until

pytestmark = pytest.mark.places
#: So few at once that an attempt that is made again ends before the next worker is killed: a step that is lost
#: four times fails.
TASKS, KILLS, AT_ONCE = 150, 6, 6
SQUARES = """
import asyncio, os
async def square(n, marks, ctx):
    file = os.open(marks, os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{ctx.id}\\n".encode())
    os.close(file)
    await asyncio.sleep(0.2)
    return n * n
"""


def test_no_result_is_lost_and_none_is_there_twice(tmp_path: Path) -> None:
    cluster, engine = DaskCluster(tmp_path), None
    marks = tmp_path / "marks"
    marks.touch()
    (tmp_path / "squares.py").write_text(SQUARES)
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(TASKS)))
    agent = {"python": "squares:square", "place": "big", "with": {"marks": str(marks)}, "retry": 1}
    flow = {"agentdeck": 1, "name": "flow", "inputs": {"n": "integer"}, "agents": {"square": agent}}
    (tmp_path / "flow.yaml").write_text(json.dumps(flow))

    def begun() -> int:
        return marks.read_bytes().count(b"\n")

    try:
        cluster.start()
        place = {"type": "dask", "address": cluster.address, "slots": AT_ONCE}
        (tmp_path / "deck.yaml").write_text(json.dumps({"agentdeck": 1, "places": {"big": place}}))
        command = ["run", "flow.yaml", "--tasks", "tasks.jsonl", "--workers", str(AT_ONCE), "--db", "runs.db"]
        engine = subprocess.Popen([sys.executable, "-m", "agentdeck", *command], cwd=tmp_path)
        for turn in range(KILLS):
            enough = min(TASKS, begun() + TASKS // (KILLS + 1))
            wait_until(lambda enough=enough: begun() >= enough)  # type: ignore[misc]
            name = WORKERS[turn % 2]
            cluster.kill(name)
            cluster.start_worker(name)
        assert engine.wait(60) == 0
    finally:
        if engine is not None:
            engine.kill()
        cluster.close()
    with closing(Reader(tmp_path / "runs.db")) as reader:
        events = [event for _, event in reader.events(reader.runs(1)[0].run)]
    results = [event.output for event in events if isinstance(event, ev.StepSucceeded)]
    assert sorted(map(int, map(str, results))) == [n * n for n in range(TASKS)]
    assert any(isinstance(event, ev.AttemptLost) for event in events)
    attempts = marks.read_text().split()
    assert len(attempts) == len(set(attempts))
