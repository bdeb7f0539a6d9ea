"""The place `dask`, on a real cluster of two workers."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from agentdeck import Workflow, __version__
from agentdeck.agents.verb import NOW
from agentdeck.engine import launch
from agentdeck.errors import UsageError
from agentdeck.places import dask_cluster, worker_check
from agentdeck.places.cluster import ClusterError
from agentdeck.places.code import CodeFacts, found
from agentdeck.places.dask_place import DaskPlace
from agentdeck.places.place import Place, PlaceRun, PlaceTarget
from agentdeck.places.worker_check import PROBE, WorkerCheck
from agentdeck.processes.children import Children
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.testing.place_contract import PlaceContract
from agentdeck.workflow.check import check
from agentdeck.workflow.deck import DeckPlace, load_deck
from agentdeck.workflow.model import Data
from tests.places import runs
from tests.places.dask_cluster import WORKERS, DaskCluster
from tests.places.runs import Under, until

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
async def dask(cluster: DaskCluster) -> AsyncIterator[Place]:
    place = DaskPlace(DeckPlace("crew", "dask", 50, options={"address": cluster.address}))
    await place.connect(place_run())
    yield place
    await place.close()


def place_run(*targets: PlaceTarget) -> PlaceRun:
    return PlaceRun(uuid4().hex, targets, Children(), str, print, print, print)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).with_name("crew.py"), tmp_path / "crew.py")
    return tmp_path


class TestContract(PlaceContract):
    name = "dask"
    connects_within = 120.0  # on a busy machine

    @pytest.fixture
    def deck_keys(self, cluster: DaskCluster) -> dict[str, Data]:
        return {"address": cluster.address, "slots": 50}


async def test_calls_run_on_both_workers_and_their_output_is_in_the_log(
    cluster: DaskCluster, folder: Path, place: str
) -> None:
    ran = await runs.run(folder, place, "about", tasks=[{"n": n} for n in range(4)], workers=4)
    outputs = [e.output for e in ran.of(ev.StepSucceeded)]
    assert {one["id"] for one in outputs} == {f"{ran.outcome.run}/{task}/it#1" for task in range(1, 5)}
    assert os.getpid() not in {one["pid"] for one in outputs}
    placed = ran.of(ev.AttemptPlaced)
    assert {e.worker for e in placed} == {"first", "second"}
    assert len({(e.task, e.step, e.attempt) for e in placed}) == len(placed)
    for n in range(4):
        assert ("out", f"printed by {n}") in ran.lines
    assert ("out", "raw output of a program") in ran.lines
    assert ("warning", "logged") in ran.lines
    for name in WORKERS:
        assert "printed by" not in cluster.printed(name)


@pytest.mark.parametrize(
    ("function", "inputs", "output"),
    [
        ("much", {}, ["y" * 1000] * 3000),
        ("pieces", {"n": 3}, {"n": 3}),
    ],
)
async def test_results_come_back(
    folder: Path, place: str, function: str, inputs: dict[str, Data], output: Data
) -> None:
    ran = await runs.run(folder, place, function, **inputs)
    assert ran.output == output
    if function == "pieces":
        assert [text for _, text in ran.lines] == ["first piece", "second piece"]


async def test_a_result_over_the_limit_is_refused(folder: Path, place: str) -> None:
    fault = (await runs.run(folder, place, "too_much")).fault
    assert fault.kind == "invalid"
    assert fault.message.startswith("the result is 17.0 MB, over the limit of 16 MB"), fault


# Cancellation


@pytest.mark.parametrize("how", [(), (NOW,)])
async def test_a_function_that_ignores_its_cancellation_is_ended(
    folder: Path, dask: Place, how: tuple[str, ...]
) -> None:
    under, file = Under(folder, dask), folder / "alive"
    await under.end(await under.begin("stubborn", file, file=str(file)), *how)
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text().split()[0]), 0)
    assert under.lines == []


async def test_a_coroutine_is_cancelled_and_its_process_stays(folder: Path, dask: Place) -> None:
    under, file = Under(folder, dask), folder / "alive"
    attempt = await under.begin("gentle", file, file=str(file))
    pid = int(file.read_text())
    await under.end(attempt)
    assert file.read_text() == "ended"
    os.kill(pid, 0)


# Lost attempts


async def test_a_worker_that_dies_costs_an_attempt_that_is_no_failure(
    cluster: DaskCluster, folder: Path, place: str
) -> None:
    file = folder / "killed"
    ran = await runs.run(folder, place, "kill_worker", file=str(file))
    (lost,) = ran.of(ev.AttemptLost)
    before, after = (e.worker for e in ran.of(ev.AttemptPlaced))
    assert {before, after} == {"first", "second"}
    assert lost.why.startswith(f"the worker {before} of the place crew is gone: ")
    assert not ran.of(ev.AttemptFailed)
    assert ran.output == file.read_text()
    await until(lambda: not Path(f"/proc/{ran.output}").exists())
    cluster.start_worker(before)
    cluster.wait_for_workers(before)


async def test_an_attempt_that_is_lost_each_time_fails_in_the_end(folder: Path, place: str) -> None:
    ran = await runs.run(folder, place, "die", how="SIGKILL")
    assert len(ran.of(ev.AttemptLost)) == 3
    assert ran.fault.kind == "place"
    assert "of the place crew on " in ran.fault.message
    assert "was killed by SIGKILL; this is the 4th attempt that was lost" in ran.fault.message


# What does not fit


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("nothing", ": crew has no nothing; did you mean"),
        ("thing", ": a object cannot be called; name a function"),
    ],
)
async def test_a_run_is_refused_whose_functions_a_worker_cannot_import(
    folder: Path, place: str, function: str, what: str
) -> None:
    with pytest.raises(UsageError) as caught:
        await runs.run(folder, place, function)
    first, second = sorted(str(caught.value).removeprefix("the place crew cannot be used: ").splitlines())
    assert (first.startswith("first" + what), second.startswith("second" + what)) == (True, True), caught.value
    with closing(Reader(folder / "runs.db")) as reader:
        assert reader.runs() == []


async def test_a_module_that_is_not_the_same_on_a_worker(
    cluster: DaskCluster, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers find another one in their working folder: that of the workflow is not there."""
    monkeypatch.setattr(worker_check, "found", lambda target, folder: CodeFacts("crew", "/srv/crew.py", "f" * 64))
    with pytest.raises(UsageError) as caught:
        await runs.run(folder, place, "add", x=1)
    assert f"the module crew is not the same there ({folder}/crew.py, sha256 " in str(caught.value)
    assert "as here (/srv/crew.py, sha256 ffffffffffff); update one of them" in str(caught.value)


async def test_a_module_beside_it_that_is_not_the_same_on_a_worker(
    folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison, a call would silently use the other prices."""
    (folder / "shop.py").write_text("from prices import price\n")
    (folder / "prices.py").write_text("def price():\n    return 3\n")
    assert (await runs.run(folder, place, "price", keys={"python": "shop:price"})).output == 3

    def older(target: str, folder: Path) -> CodeFacts:
        facts = found(target, folder)
        return facts._replace(sha256="f" * 64) if target == "prices" else facts

    monkeypatch.setattr(worker_check, "found", older)
    with pytest.raises(UsageError) as caught:
        await runs.run(folder, place, "price", keys={"python": "shop:price"})
    assert f"the module prices is not the same there ({folder}/prices.py, sha256 " in str(caught.value)


@pytest.mark.parametrize(
    ("address", "why"),
    [("tcp://127.0.0.1:9", "Connection refused"), ("tls://127.0.0.1:9", "the place has no keys; ")],
)
async def test_nothing_answers(folder: Path, address: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        await runs.run(folder, f"type: dask, address: '{address}', slots: 2", "add", x=1)
    assert str(caught.value).startswith(
        f"the place crew cannot be used: no scheduler of Dask answers at {address}: {why}"
    )


async def test_a_refusal_that_dask_has_no_time_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, the last of its tries is cut short, and that is all that its error says."""
    monkeypatch.setattr(dask_cluster, "CONNECT", 0.0)
    with pytest.raises(ClusterError, match="Connection refused"):
        await dask_cluster.DaskCluster({"address": "tcp://127.0.0.1:9"}, 2, Path()).connect()


async def test_what_accepts_a_connection_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An HTTP server does that, and a scheduler that is stopped. Dask would wait for ever."""
    monkeypatch.setattr(dask_cluster, "ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        cluster = dask_cluster.DaskCluster({"address": address}, 2, Path())
        with pytest.raises(ClusterError, match=f"Dask answers at {address}: it has said nothing for 0.5 s"):
            await cluster.connect()


async def test_a_worker_that_does_not_fit(cluster: DaskCluster, folder: Path, place: str) -> None:
    """It may come while a run executes, and is not used then; none is begun while it is there."""
    write = folder / "other/agentdeck/__init__.py"
    write.parent.mkdir(parents=True)
    write.write_text('__version__ = "0.1.9"')
    wrong = f"other has agentdeck 0.1.9, and the engine has {__version__}; they must be the same"
    keys = {"with": {"folder": str(folder), "n": 1}}
    running = asyncio.create_task(runs.run(folder, place, "noted", keys=keys))
    await until(lambda: (folder / "notes").exists())
    cluster.start_worker("other", path=folder / "other")
    try:
        await until(lambda: any(wrong in text for text in noted(folder)))
        (folder / "go").touch()
        ran = await running
        assert f"place crew: {wrong}; nothing runs there" in noted(folder)
        assert ran.output == 1
        with pytest.raises(UsageError) as caught:
            await runs.run(folder, place, "noted", keys=keys)
        assert str(caught.value) == f"the place crew cannot be used: {wrong}"
        with closing(Reader(folder / "runs.db")) as reader:
            assert len(reader.runs()) == 1
    finally:
        cluster.kill("other")


def noted(folder: Path) -> list[str]:
    with closing(Reader(folder / "runs.db")) as reader:
        events = [event for row in reader.runs(1) for _, event in reader.events(row.run)]
    return [event.text for event in events if isinstance(event, ev.Noted)]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ('["3.9.1", "0.1"]', "w has Python 3.9.1, and the engine has 3."),
        ('["{here}", ""]', "w has no agentdeck; install agentdeck {version} there"),
        ('["{here}", "0.1"]', "w has agentdeck 0.1, and the engine has {version}; they must be the same"),
        ('["{here}", "{version}"]', ""),
    ],
)
def test_versions_have_to_fit(answer: str, what: str) -> None:
    def filled(text: str) -> str:
        return text.replace("{here}", platform.python_version()).replace("{version}", __version__)

    found = WorkerCheck("crew", (), False).versions("w", filled(answer))
    assert found.startswith(filled(what))
    assert bool(found) == bool(what)


def test_a_worker_without_agentdeck_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", f"print(eval({PROBE!r}))"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[1] == ""


async def test_code_is_shipped(cluster: DaskCluster, folder: Path, place: str) -> None:
    """Each content has a folder of its own on a worker."""
    ran = await runs.run(folder, f"{place}, code: ship", "where_am_i")
    assert Path(ran.output).parent.parent.name.startswith("agentdeck-code-")


# Secrets


async def test_a_key_of_the_gateway_is_seen_by_its_step_alone(
    cluster: DaskCluster, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in logs, not in the store, not in what other programs see of a process, not by the next call. A key of
    the engine's environment does not get to a worker at all."""
    monkeypatch.setenv("SHOP_KEY", "sk-of-the-provider")
    (folder / "deck.yaml").write_text(f"agentdeck: 1\nplaces:\n  crew: {{ {place} }}\n{runs.GATEWAY}")
    made = Workflow("crew")
    usual = {"place": "crew", "retry": 1, "timeout": "30s"}
    made.add("tells", python="crew:tell_key", gateway=True, **usual, **{"with": {"folder": str(folder)}})
    made.add("fails", python="crew:raise_key", gateway=True, **usual)
    names = ["OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "SHOP_KEY"]
    made.add("next", python="crew:environment", needs="tells", **usual, **{"with": {"names": names}})
    db = folder / "runs.db"
    outcome = await launch.run(launch.Launch(made.definition, folder, db=db))
    key = (folder / "key").read_text()
    with closing(Reader(db)) as reader:
        events = [event for _, event in reader.events(outcome.run)]
        lines = {line.text for line in reader.logs(outcome.run)}
    outputs = {event.step: event.output for event in events if isinstance(event, ev.StepSucceeded)}
    assert outputs == {"tells": ["[key]", []], "next": dict.fromkeys(names)}
    assert {"printed [key]", "by a program [key]", "logged [key]"} <= lines
    (fault,) = [event.fault for event in events if isinstance(event, ev.StepFailed)]
    assert fault.message == "ValueError: refused: [key]"
    assert files_with(key, folder, "runs.db*") + files_with(key, cluster.folder, "*.log") == []


def files_with(text: str, folder: Path, pattern: str) -> list[Path]:
    found = list(folder.glob(pattern))
    assert found
    return [file for file in found if text.encode() in file.read_bytes()]


# Bad input


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("type: dask, slots: 3", "3:3: it has no cluster; give it one of address, local"),
        ("type: dask, address: x", "3:9: slots is missing; add slots:"),
        ("type: dask, address: x, slots: 0", "3:42: "),
        (
            "type: dask, address: 'http://10.0.0.5:8786', slots: 1",
            "3:32: 'http://10.0.0.5:8786' is not the address",
        ),
        ("type: dask, address: 'tcp://10.0.0.5', slots: 1", "; tcp://host:port, such as tcp://10.0.0.5:8786"),
        ("type: dask, address: 'tcp://10.0.0.5:65536', slots: 1", "is not the address of a scheduler of Dask"),
        (
            "type: dask, local: { workers: 1, slots: 1 }, tls: { ca: a, cert: b, key: c }",
            "3:9: a cluster of this machine has no TLS; remove tls",
        ),
        ("type: dask, address: x, slots: 2, local: { workers: 1, slots: 2 }", "only one of them is allowed"),
        ("type: dask, local: { workers: 1 }", "slots is missing"),
        ("type: dask, address: x, slots: 2, code: copy", "3:51: "),
        ("type: dask, address: x, slots: 2, tls: { ca: ca.pem, cert: c.pem }", "key is missing"),
        (
            "type: dask, address: 'x:1', slots: 2, tls: { ca: ca.pem, cert: crew.py, key: crew.py }",
            "3:54: there is no file {folder}/ca.pem; correct ca",
        ),
    ],
)
def test_the_keys_are_checked(folder: Path, place: str, what: str) -> None:
    (folder / "deck.yaml").write_text(f"agentdeck: 1\nplaces:\n  crew: {{ {place} }}\n")
    found = "\n".join(map(str, check(folder / "deck.yaml")))
    assert what.format(folder=folder.resolve()) in found, found


def test_a_cluster_of_this_machine_has_the_slots_of_its_workers(folder: Path) -> None:
    (folder / "deck.yaml").write_text(
        "agentdeck: 1\nplaces:\n  dev: { type: dask, local: { workers: 2, slots: 100 } }\n"
    )
    assert load_deck(folder / "deck.yaml").places["dev"].slots == 200
