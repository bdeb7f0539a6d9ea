"""The place `process`: attempts in child interpreters, which can be ended and may crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentdeck.agents.verb import NOW
from agentdeck.errors import StepLost
from agentdeck.places.process import ProcessPlace
from agentdeck.scheduler import events as ev
from agentdeck.testing.place_contract import PlaceContract
from agentdeck.workflow.check import check
from agentdeck.workflow.deck import DeckPlace, load_deck
from agentdeck.workflow.model import Data
from tests.places import runs
from tests.places.runs import Ran, Under, until

pytestmark = pytest.mark.anyio
DECK = "agentdeck: 1\nplaces:\n  crew: {{ type: process{more} }}\n"


class TestContract(PlaceContract):
    name = "process"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has the standard library, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    return str(folder / "venv/bin/python")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).with_name("crew.py"), tmp_path / "crew.py")
    return tmp_path


async def run(folder: Path, function: str, more: str = "", **given: Any) -> Ran:
    return await runs.run(folder, f"type: process{more}", function, **given)


# Calls


async def test_an_interpreter_with_the_standard_library_is_enough(folder: Path, bare: str) -> None:
    ran = await run(folder, "about", f", python: {bare}", n=1)
    assert ran.output["python"] == bare
    assert ran.output["pid"] != os.getpid()
    assert ran.output["id"] == f"{ran.outcome.run}/1/it#1"
    assert not {"anyio", "pydantic", "httpx", "ruamel"} & set(ran.output["modules"])
    assert ("out", "printed by 1") in ran.lines
    assert ("out", "raw output of a program") in ran.lines
    assert ("warning", "logged") in ran.lines


@pytest.mark.parametrize(
    ("function", "inputs", "output"),
    [
        ("add", {"x": 1}, 3),
        ("pieces", {"n": 3}, {"n": 3}),
        ("words", {"n": 3}, "all text"),
        ("chain", {"b": 1, "a": 2}, ["a", "b"]),
        ("much", {}, ["y" * 1000] * 3000),
    ],
)
async def test_functions_generators_and_objects_give_their_results(
    folder: Path, function: str, inputs: dict[str, Data], output: Data
) -> None:
    ran = await run(folder, function, **inputs)
    assert ran.output == output
    if function == "pieces":
        assert [text for _, text in ran.lines] == ["first piece", "second piece"]


@pytest.mark.parametrize(
    ("function", "inputs", "kind", "message"),
    [
        ("raises", {"text": "no stock"}, "exception", "ValueError: no stock"),
        ("nothing", {}, "setup", "crew has no nothing"),
        ("thing", {}, "setup", "a object cannot be called; name a function"),
        ("add", {"z": 1}, "setup", "crew:add takes x, which is neither an input nor a need"),
        ("too_much", {}, "invalid", "the result is 17.0 MB, over the limit of 16 MB"),
        ("no_data", {}, "invalid", "the result.file is of type object, which is not plain data"),
    ],
)
async def test_failures_are_those_of_the_engine(
    folder: Path, bare: str, function: str, inputs: dict[str, Data], kind: str, message: str
) -> None:
    fault = (await run(folder, function, f", python: {bare}", **inputs)).fault
    assert (fault.kind, message in fault.message) == (kind, True), fault
    if function == "raises":
        assert fault.detail.splitlines()[0].endswith("in raises")


async def test_blocking_calls_have_a_process_each(folder: Path) -> None:
    (folder / "met").mkdir()
    tasks: list[dict[str, Data]] = [{"n": 8, "folder": str(folder / "met")} for _ in range(8)]
    ran = await run(folder, "meet_blocking", tasks=tasks, workers=8)
    assert len({e.output for e in ran.of(ev.StepSucceeded)}) == 8


async def test_coroutines_share_processes(folder: Path) -> None:
    (folder / "met").mkdir()
    tasks: list[dict[str, Data]] = [{"n": 40, "folder": str(folder / "met")} for _ in range(40)]
    ran = await run(folder, "meet", tasks=tasks, workers=40)
    assert len({e.output for e in ran.of(ev.StepSucceeded)}) == 2  # of 32 calls at most


async def test_a_child_stays_warm_for_the_next_call(folder: Path) -> None:
    tasks: list[dict[str, Data]] = [{"seconds": 0} for _ in range(5)]
    ran = await run(folder, "sleep", tasks=tasks, workers=1)
    assert len({e.output for e in ran.of(ev.StepSucceeded)}) == 1


async def test_slots_bound_the_attempts_and_are_a_limit(folder: Path) -> None:
    tasks: list[dict[str, Data]] = [{"seconds": 0.01} for _ in range(6)]
    ran = await run(folder, "sleep", ", slots: 2", tasks=tasks, workers=6)
    assert len({e.output for e in ran.of(ev.StepSucceeded)}) <= 2
    assert ran.of(ev.RunStarted)[0].limits["place.crew"] == 2
    assert "place" in {reason for e in ran.of(ev.StepStarted) for reason in e.waits or ()}
    running, most = 0, 0
    for event in ran.events:
        running += isinstance(event, ev.StepStarted) - isinstance(event, ev.StepSucceeded)
        most = max(most, running)
    assert most == 2


async def test_a_child_gets_the_variables_that_the_deck_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "key-of-the-shop")
    monkeypatch.setenv("OTHER_KEY", "another-key")
    ran = await run(folder, "environment", ", env: [SHOP_KEY]", names=["SHOP_KEY", "OTHER_KEY"])
    assert ran.output == {"SHOP_KEY": "key-of-the-shop", "OTHER_KEY": None}


# Lost attempts


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("exit", "exited with code 7"),
        ("SIGKILL", "was killed by SIGKILL"),
        ("SIGSEGV", "was killed by SIGSEGV"),
    ],
)
async def test_a_dead_child_costs_an_attempt_that_is_no_failure(folder: Path, how: str, what: str) -> None:
    ran = await run(folder, "die_once", file=str(folder / "died"), how=how)
    assert ran.output == "survived"
    (lost,) = ran.of(ev.AttemptLost)
    assert "of the place crew" in lost.why
    assert what in lost.why
    assert not ran.of(ev.AttemptFailed)


async def test_an_attempt_that_is_lost_each_time_fails_in_the_end(folder: Path) -> None:
    ran = await run(folder, "die", how="SIGKILL")
    assert len(ran.of(ev.AttemptLost)) == 3
    assert ran.fault.kind == "place"
    assert "was killed by SIGKILL; this is the 4th attempt that was lost" in ran.fault.message


async def test_a_lost_once_step_is_not_made_again(folder: Path) -> None:
    keys = {"once": "pay-1"}
    ran = await run(folder, "die_once", keys=keys, file=str(folder / "died"), how="SIGKILL")
    assert len(ran.of(ev.AttemptLost)) == 1
    assert ran.fault.kind == "unknown"


# Cancellation


@pytest.fixture
async def under(folder: Path) -> AsyncIterator[Under]:
    place = ProcessPlace(DeckPlace("crew", "process"))
    yield Under(folder, place)
    await place.close()


@pytest.mark.parametrize("how", [(), (NOW,)])
async def test_a_function_that_ignores_its_cancellation_is_ended(
    folder: Path, under: Under, how: tuple[str, ...]
) -> None:
    file = folder / "alive"
    await under.end(await under.begin("stubborn", file, file=str(file)), *how)
    _assert_ended(int(file.read_text().split()[0]))
    assert under.lines == []


async def test_a_coroutine_is_cancelled_and_its_process_stays(folder: Path, under: Under) -> None:
    file, again = folder / "alive", folder / "again"
    attempt = await under.begin("gentle", file, file=str(file))
    pid = file.read_text()
    await under.end(attempt)
    assert file.read_text() == "ended"
    await under.end(await under.begin("gentle_too", again, file=str(again)))
    assert again.read_text() == f"ended in {pid}"


async def test_a_coroutine_that_ignores_its_cancellation_is_ended(folder: Path, under: Under) -> None:
    file = folder / "alive"
    await under.end(await under.begin("stubborn_coroutine", file, file=str(file)))
    _assert_ended(int(file.read_text()))


async def test_the_other_calls_of_a_process_go_on_when_one_ignores_its_cancellation(
    folder: Path, under: Under
) -> None:
    first, second = folder / "first", folder / "second"
    ignoring = await under.begin("together", first, file=str(first), how="ignore")
    other = await under.begin("together", second, file=str(second), how="")
    pid = int(first.read_text())
    await under.end(ignoring)
    assert [line for line in under.lines if line.startswith(f"abandoned, still running: process {pid} of")]
    assert _state(pid) not in ("Z", "X")
    (folder / "second.end").touch()
    with anyio.fail_after(10):
        assert await other == pid
        await until(lambda: _state(pid) in ("Z", "X"))


async def test_a_call_that_blocks_its_process_costs_the_others_an_attempt(folder: Path, under: Under) -> None:
    first, second = folder / "first", folder / "second"
    other = await under.begin("together", first, file=str(first), how="")
    blocking = await under.begin("together", second, file=str(second), how="block")
    await under.end(blocking)
    with anyio.fail_after(10), pytest.raises(StepLost, match="another call blocked it and ignored"):
        await other


def _assert_ended(pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_child_outlives_the_engine(folder: Path) -> None:
    (folder / "deck.yaml").write_text(DECK.format(more=""))
    file = folder / "alive"
    agent = f'{{ python: "crew:stubborn", place: crew, with: {{ file: "{file}" }} }}'
    (folder / "flow.yaml").write_text(f"agentdeck: 1\nname: flow\nagents:\n  it: {agent}\n")
    command = [sys.executable, "-m", "agentdeck", "run", "flow.yaml", "--db", "runs.db"]
    engine = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
    finally:
        engine.kill()
        engine.wait()
    child = int(file.read_text().split()[0])
    _wait_until(lambda: _state(child) in ("Z", "X"))


def _wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


# Bad input


@pytest.mark.parametrize(
    ("python", "what"),
    [
        ("nowhere/bin/python", "there is no "),
        ("crew.py", "is not a program that can be executed"),
        ("garbage", "is not a Python: hello"),
        ("old", "is Python 3.9, and at least 3.10 is needed"),
    ],
)
async def test_an_interpreter_that_cannot_be_used(folder: Path, python: str, what: str) -> None:
    for name, says in (("garbage", "hello"), ("old", "python 3 9")):
        (folder / name).write_text(f"#!/bin/sh\necho {says}\n")
        (folder / name).chmod(0o755)
    fault = (await run(folder, "add", f", python: ./{python}", x=1)).fault
    assert fault.kind == "setup"
    assert "the place crew has no process: " in fault.message
    (issue,) = check(folder / "deck.yaml")
    assert (issue.line, issue.column) == (3, 34)
    assert what in issue.what
    (folder / "flow.yaml").write_text(
        'agentdeck: 1\nname: flow\nagents:\n  it: { python: "crew:add", place: crew }\n'
    )
    (issue,) = [one for one in check(folder / "flow.yaml") if not one.warning]
    assert (issue.line, issue.column) == (4, 29)
    assert what in issue.what


@pytest.mark.parametrize(
    ("agent", "what"),
    [
        ("python: 'crew:add', place: crow", "4:29: the deck has no place crow; did you mean crew?"),
        ("command: [ls], place: crew", "4:24: command agents run in the engine; only python agents can have a"),
    ],
)
def test_places_in_the_file_are_checked(folder: Path, agent: str, what: str) -> None:
    (folder / "deck.yaml").write_text(DECK.format(more=""))
    (folder / "flow.yaml").write_text(f"agentdeck: 1\nname: flow\nagents:\n  it: {{ {agent} }}\n")
    assert what in "\n".join(map(str, check(folder / "flow.yaml")))


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("crew: { type: proces }", "'proces' is not one of dask, local, process, ray; did you mean process?"),
        ("crew: { type: process, slot: 3 }", "slot is not a key"),
        ("crew: { type: process, slots: 0 }", "3:33: "),
        ("local: { type: process }", "local"),
        ("crew: { type: process, env: 3 }", "3:31: "),
    ],
)
def test_places_in_the_deck_are_checked(folder: Path, place: str, what: str) -> None:
    (folder / "deck.yaml").write_text(f"agentdeck: 1\nplaces:\n  {place}\n")
    assert what in "\n".join(map(str, check(folder / "deck.yaml")))


def test_paths_are_those_of_the_deck(folder: Path) -> None:
    (folder / "deck.yaml").write_text(DECK.format(more=", python: env/bin/python, slots: 3"))
    place = load_deck(folder / "deck.yaml").places["crew"]
    assert (place.folder, place.slots, place.options) == (folder.resolve(), 3, {"python": "env/bin/python"})
