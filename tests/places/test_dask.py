"""The place `dask`, on a real cluster of two workers."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentdeck.places.dask_place import DaskPlace
from agentdeck.places.place import Place
from agentdeck.scheduler import events as ev
from agentdeck.testing.place_contract import PlaceContract
from agentdeck.workflow.deck import DeckPlace
from agentdeck.workflow.model import Data
from tests.places import runs
from tests.places.dask_cluster import DaskCluster

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
def place(cluster: DaskCluster) -> str:
    """What the deck says of the place."""
    return f'type: dask, address: "{cluster.address}", slots: 50'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).with_name("crew.py"), tmp_path / "crew.py")
    return tmp_path


class TestContract(PlaceContract):
    name = "dask"

    @pytest.fixture
    async def place(self, cluster: DaskCluster) -> AsyncIterator[Place]:
        place = DaskPlace(DeckPlace("crew", "dask", 50, options={"address": cluster.address}))
        yield place
        await place.close()


async def test_calls_run_on_workers_and_their_output_is_in_the_log(folder: Path, place: str) -> None:
    ran = await runs.run(folder, place, "about", n=1)
    assert ran.output["id"] == f"{ran.outcome.run}/1/it#1"
    assert ("out", "printed by 1") in ran.lines
    assert ("out", "raw output of a program") in ran.lines
    assert ("warning", "logged") in ran.lines


async def test_calls_are_spread_over_the_workers(folder: Path, place: str) -> None:
    (folder / "met").mkdir()
    tasks: list[dict[str, Data]] = [{"n": 8, "folder": str(folder / "met")} for _ in range(8)]
    ran = await runs.run(folder, place, "meet_blocking", tasks=tasks, workers=8)
    assert len({e.output for e in ran.of(ev.StepSucceeded)}) == 8
