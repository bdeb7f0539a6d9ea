"""The place `ray`, on a real cluster: a head and two workers, in a network namespace of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agentdeck import __version__
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Data
from tests.places.ray_cluster import ADDRESS, LONG, ROOT, Engine, RayNodes, ray_nodes
from tests.places.runs import GATEWAY
from tests.waiting import until

pytestmark = pytest.mark.places


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with ray_nodes() as nodes:
        nodes.start()
        yield nodes


def agents(*functions: str, **keys: Any) -> dict[str, dict[str, Any]]:
    return {name: {"python": f"crew:{name}", **keys} for name in functions}


def test_the_place_keeps_the_contract(nodes: RayNodes) -> None:
    file = str(Path(__file__).with_name("ray_contract.py"))
    done = subprocess.run(
        nodes.command("-m", "pytest", "-p", "no:cacheprovider", file),
        cwd=ROOT,
        env=nodes.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


# Calls


def test_calls_of_all_kinds_give_what_they_give_in_the_engine(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    (tmp_path / "met").mkdir()
    good = agents("about", "add", "pieces", "words", "chain", "sixteen")
    bad = agents("raises", "too_much", "no_data")
    many = {f"meet_{n}": {"python": "crew:meet"} for n in range(6)}
    engine.start(good | bad | many, [{"n": 6, "x": 1, "text": "no stock", "folder": str(tmp_path / "met")}])
    assert engine.wait() == 1, engine.err
    outputs, faults = engine.outputs(), engine.faults()
    assert outputs["add"] == 3
    assert outputs["pieces"] == {"n": 6}
    assert outputs["words"] == "all text"
    assert len(outputs["sixteen"]) == 15_900_000
    assert outputs["about"]["id"].endswith("/1/about#1")
    assert [line.text for line in engine.log("pieces")] == ["first piece", "second piece"]
    printed = {("out", "printed by 6"), ("out", "raw output of a program"), ("warning", "logged")}
    assert printed <= {(line.level, line.text) for line in engine.log("about")}
    assert {name: fault.kind for name, fault in faults.items()} == {
        "raises": "exception",
        "too_much": "invalid",
        "no_data": "invalid",
    }
    assert faults["raises"].message == "ValueError: no stock"
    assert "the result is 17.0 MB, over the limit of 16 MB" in faults["too_much"].message
    assert faults["no_data"].message.startswith("the result.file is of type object, which is not plain data")
    assert {event.worker for event in engine.of(ev.AttemptPlaced)} == {"first", "second"}


TALKING = """
import asyncio
from pathlib import Path
from typing import TypedDict

from langgraph.graph import StateGraph

from tests.agents.frameworks.fake_models import CountingModel


class State(TypedDict, total=False):
    folder: str
    said: str


async def ask(state):
    answer = await CountingModel().ainvoke("What is tea?")
    return {"said": answer.content}


async def wait(state):
    while not Path(state["folder"], "go").exists():
        await asyncio.sleep(0.02)
    return {"folder": "left"}


made = StateGraph(State).add_node("ask", ask).add_node("wait", wait)
graph = made.set_entry_point("ask").add_edge("ask", "wait").set_finish_point("wait").compile()


async def talk(folder, ctx):
    yield "a line\\nhalf of "
    ctx.log("noted", "warning")
    print("printed")
    Path(folder, "began").touch()
    while not Path(folder, "go").exists():
        await asyncio.sleep(0.02)
    yield "one"
"""


def test_what_a_step_says_arrives_while_it_runs(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    (tmp_path / "talking.py").write_text(TALKING)
    with_ = {"folder": str(tmp_path)}
    engine.start({name: {"python": f"talking:{name}", "with": with_} for name in ("graph", "talk")})
    until((tmp_path / "began").exists, LONG)
    said = {("info", "a line"), ("warning", "noted"), ("out", "printed")}
    until(lambda: said <= {(line.level, line.text) for line in engine.log("talk")}, LONG)
    until(lambda: [event.name for event in engine.of(ev.InnerStarted)] == ["ask", "wait"], LONG)
    until(lambda: any(line.text.startswith("ask: Hot") for line in engine.log("graph")), LONG)
    (asked,) = engine.of(ev.InnerEnded)
    assert (asked.usage.tokens_in, asked.usage.tokens_out, asked.usage.cached_in) == (10, 3, 4)
    assert not engine.of(ev.StepSucceeded)
    (tmp_path / "go").touch()
    assert engine.wait() == 0, engine.err
    assert engine.outputs()["talk"] == "a line\nhalf of one"


def test_a_key_of_the_gateway_is_seen_by_its_step_alone(nodes: RayNodes, tmp_path: Path) -> None:
    """Not in logs, of Ray neither, not in what other programs see of a process, not by the next call. A key of
    the engine's environment does not get to a worker at all."""
    engine = Engine(nodes, tmp_path, SHOP_KEY="sk-of-the-provider")
    with (tmp_path / "deck.yaml").open("a") as deck:
        deck.write(GATEWAY)
    names: list[Data] = ["OPENAI_API_KEY", "OPENAI_BASE_URL", "SHOP_KEY"]
    tells = {"python": "crew:tell_key", "gateway": True, "with": {"folder": str(tmp_path)}}
    after = {"python": "crew:environment", "needs": "tells", "with": {"names": names}}
    engine.start({"tells": tells, "next": after})
    assert engine.wait() == 0, engine.err
    assert engine.outputs() == {"tells": ["[key]", []], "next": dict.fromkeys(names)}
    assert {"printed [key]", "by a program [key]", "logged [key]"} <= {line.text for line in engine.log("tells")}
    key = (tmp_path / "key").read_bytes()
    written = [file for file in nodes.folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".log" for file in written)
    assert not [file for file in (*written, *tmp_path.glob("runs.db*")) if key in file.read_bytes()]


def test_the_workers_as_agentdeck_places_lists_them(nodes: RayNodes, tmp_path: Path) -> None:
    workers = Engine(nodes, tmp_path).workers()
    assert [worker["name"] for worker in workers] == ["first", "second"]
    for worker in workers:
        assert (worker["threads"], worker["agentdeck"]) == (2, __version__)
        assert worker["version"].startswith("2.")
        assert worker["latency"] > 0
        assert worker["load"] >= 0
        assert worker["memory"] > 0


def test_calls_are_ended_when_the_run_is_cancelled(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    blocking, gentle = tmp_path / "blocking", tmp_path / "gentle"
    engine.start(
        {
            "noted": {"python": "crew:noted", "with": {"folder": str(tmp_path), "n": 1}},
            "stubborn": {"python": "crew:stubborn", "with": {"file": str(blocking)}},
            "gentle": {"python": "crew:gentle", "with": {"file": str(gentle)}},
        }
    )
    until(lambda: blocking.exists() and gentle.exists(), LONG)
    until(lambda: engine.log("noted"), LONG)  # it comes while the call runs
    assert "cancel" in engine.agentdeck("cancel", "last")
    engine.wait()
    assert gentle.read_text() == "ended"
    assert_ended(int(blocking.read_text().split()[0]))
    assert notes(tmp_path, "ended") == []


def test_a_timeout_ends_the_code(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    functions = ("stubborn", "stubborn_coroutine", "gentle")
    late = {
        name: {"python": f"crew:{name}", "needs": "add", "timeout": "10s", "with": {"file": str(tmp_path / name)}}
        for name in functions
    }
    engine.start({"add": {"python": "crew:add", "with": {"x": 1}}} | late)
    assert engine.wait() == 1
    assert {fault.kind for fault in engine.faults().values()} == {"timeout"}
    assert (tmp_path / "gentle").read_text() == "ended"
    for name in functions[:2]:
        assert_ended(int((tmp_path / name).read_text().split()[0]))


# Losses


def test_what_a_dead_node_had_is_made_again_on_another(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    engine.start(agents("noted", "noted_too"), tasks(8, folder=tmp_path))
    until(lambda: len(notes(tmp_path, "began")) == 16, LONG)
    on_first = {(event.task, event.step) for event in engine.of(ev.AttemptPlaced) if event.worker == "first"}
    assert 0 < len(on_first) < 16
    nodes.kill("first")
    until(lambda: len(notes(tmp_path, "began")) == 16 + len(on_first), LONG)
    (tmp_path / "go").touch()
    assert engine.wait() == 0, engine.err
    lost = engine.of(ev.AttemptLost)
    assert sorted((event.task, event.step) for event in lost) == sorted(on_first)
    assert all("the worker first of the place crew is gone" in event.why for event in lost)
    assert not engine.of(ev.AttemptFailed)
    assert sorted(notes(tmp_path, "ended")) == sorted(str(n) for n in range(8) for _ in range(2))
    nodes.start_worker("first")


def test_a_step_whose_host_dies_each_time_fails_with_the_place(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    engine.start(agents("kill_host"), [{"n": 1}])
    assert engine.wait() == 1
    assert len(engine.of(ev.AttemptLost)) == 3
    fault = engine.faults()["kill_host"]
    assert fault.kind == "place"
    assert "its worker process has died; this is the 4th attempt that was lost" in fault.message


def test_steps_wait_for_a_head_that_is_gone_and_go_on_when_it_is_back(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    here = {"python": "crew:noted", "place": "local", "with": {"folder": str(tmp_path / "here"), "n": 1}}
    (tmp_path / "here").mkdir()
    after = {"python": "crew:add", "needs": "here", "with": {"x": 1}}
    engine.start(agents("noted") | {"here": here, "after": after}, [{"n": 1, "folder": str(tmp_path)}])
    until(lambda: notes(tmp_path, "began") and notes(tmp_path / "here", "began"), LONG)
    for name in ("head", "first", "second"):
        nodes.kill(name)
    until(lambda: engine.of(ev.AttemptLost), LONG)
    (tmp_path / "here" / "go").touch()
    until(lambda: "here" in engine.outputs(), LONG)  # the rest goes on
    nodes.start()
    (tmp_path / "go").touch()
    assert engine.wait() == 0, engine.err
    assert engine.outputs() == {"here": 1, "after": 3, "noted": 1}


def test_a_killed_engine_leaves_nothing_running_and_its_run_goes_on(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path)
    quick = {"python": "crew:noted", "with": {"folder": str(tmp_path / "quick"), "n": "${inputs.n}"}}
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "go").touch()
    waiting = {"python": "crew:noted_too", "needs": "quick"}
    paid = {"python": "crew:noted", "needs": "quick", "once": "pay-${inputs.n}"}
    engine.start({"quick": quick, "waiting": waiting, "paid": paid}, tasks(20, folder=tmp_path))
    until(lambda: len(notes(tmp_path, "began")) == 40, LONG)
    pids = pids_of(tmp_path)
    engine.kill()
    until(lambda: not any(map(alive, pids)), LONG)
    (tmp_path / "go").touch()
    engine.resume()
    assert engine.wait() == 1
    assert len(notes(tmp_path / "quick", "began")) == 20  # what is recorded stays
    ended = Counter(notes(tmp_path, "ended"))
    assert ended == dict.fromkeys(map(str, range(20)), 1)  # the coroutines, once; what was paid is unknown
    assert {fault.kind for fault in engine.faults().values()} == {"unknown"}


def test_no_result_is_lost_and_none_is_there_twice_when_workers_die(nodes: RayNodes, tmp_path: Path) -> None:
    """20 kills in one run, at random moments: three of four end a host, the others a node. What runs is held
    until both workers are there again, so that the run lasts, however long they take to start."""
    engine, hold = Engine(nodes, tmp_path, "slots: 40"), tmp_path / "hold"
    work = {"python": "crew:held", "with": {"n": "${inputs.n}"}}
    engine.start(
        {"work": work, "then": {"python": "crew:held", "with": {"n": "${work}"}}}, tasks(1000, folder=tmp_path)
    )
    random = Random(16)
    until(lambda: engine.db.exists() and "crew" in engine.agentdeck("runs"), LONG)
    for number in range(20):
        until(lambda: len(nodes.hosts()) == 2, LONG)
        before = len(engine.of(ev.StepSucceeded))
        hold.unlink(missing_ok=True)
        until(lambda: len(engine.of(ev.StepSucceeded)) >= before + 20, LONG)  # noqa: B023
        time.sleep(random.uniform(0, 1))
        hold.touch()
        if number % 4 == 3:
            name = random.choice(("first", "second"))
            nodes.kill(name)
            nodes.start_worker(name)
        else:
            os.kill(random.choice(nodes.hosts()), signal.SIGKILL)
    assert engine.process is not None
    assert engine.process.poll() is None, "the run was over before all kills"
    (tmp_path / "go").touch()
    assert engine.wait() == 0, engine.err
    succeeded = engine.of(ev.StepSucceeded)
    assert Counter((event.task, event.step) for event in succeeded) == dict.fromkeys(
        ((str(n), step) for n in range(1, 1001) for step in ("work", "then")), 1
    )
    assert all(event.output == int(event.task) - 1 for event in succeeded)
    assert len({event.why for event in engine.of(ev.AttemptLost)}) > 1
    assert not engine.of(ev.AttemptFailed)


# Resources


def test_each_slot_holds_its_resources_while_it_is_used(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path, "slots: 8, resources: { GPU: 1 }")
    (tmp_path / "met").mkdir()
    gpu = {"python": "crew:visible", "with": {"folder": str(tmp_path / "met")}}
    first = {f"first_{n}": gpu for n in range(2)}
    pause = {"python": "crew:noted", "place": "local", "with": {"folder": str(tmp_path), "n": 1}}
    engine.start(first | {"pause": pause | {"needs": list(first)}, "late": gpu | {"needs": "pause"}})
    until(lambda: notes(tmp_path, "began"), LONG)
    until(lambda: not nodes.hosts(), LONG)  # others can have what they held
    (tmp_path / "go").touch()
    assert engine.wait() == 0, engine.err
    outputs = engine.outputs()
    assert {outputs[name] for name in first} == {"0", "1"}
    assert outputs["late"] in ("0", "1")
    assert {event.worker for event in engine.of(ev.AttemptPlaced)} == {"slot-1", "slot-2"}


# Bad input


@pytest.mark.parametrize(
    ("place", "env", "what"),
    [
        (
            'address: "127.0.0.1:1", slots: 3',
            {},
            "the place crew cannot be used: no head of Ray answers at 127.0.0.1:1: Connection refused",
        ),
        (
            "slots: 3",
            {"RAY_AUTH_TOKEN": "another-token-of-another-cluster-01234"},
            f"what answers at {ADDRESS} is no head of Ray 2.",
        ),
        (
            "slots: 3, resources: { TPU: 4 }",
            {},
            f"no node of the Ray cluster at {ADDRESS} has TPU: 4",
        ),
    ],
)
def test_a_cluster_that_cannot_be_used(
    nodes: RayNodes, tmp_path: Path, place: str, env: dict[str, str], what: str
) -> None:
    engine = Engine(nodes, tmp_path, place, apart=False, **env)
    engine.start(agents("add"), [{"x": 1}])
    assert engine.wait() != 0
    assert what in engine.err


def test_a_machine_that_is_no_node(nodes: RayNodes, tmp_path: Path) -> None:
    engine = Engine(nodes, tmp_path, apart=True)
    engine.start(agents("add"), [{"x": 1}])
    assert engine.wait() != 0
    assert f"join it with `ray start --address={ADDRESS} --num-cpus=0`" in engine.err


def test_code_that_a_node_has_not(nodes: RayNodes, tmp_path: Path) -> None:
    only_here = tmp_path / "only_here"
    only_here.mkdir()
    (only_here / "hidden.py").write_text("def it(): pass\n")
    engine = Engine(nodes, tmp_path, PYTHONPATH=str(only_here))
    engine.start({"it": {"python": "hidden:it"}})
    assert engine.wait() != 0
    assert "first: there is no module hidden" in engine.err


# What the tests have in common


def tasks(number: int, **more: Path) -> list[dict[str, Data]]:
    return [{"n": n, **{name: str(value) for name, value in more.items()}} for n in range(number)]


def notes(folder: Path, what: str) -> list[str]:
    """Which calls have begun or ended, in order."""
    return [line.split()[1] for line in _lines(folder) if line.startswith(what)]


def pids_of(folder: Path) -> set[int]:
    return {int(line.split()[2]) for line in _lines(folder)}


def _lines(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def assert_ended(pid: int) -> None:
    until(lambda: not alive(pid))
