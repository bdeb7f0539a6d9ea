"""The place `dask` when its cluster is gone, and when its engine is killed. Long: `make test-places`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from tests.places.dask_cluster import WORKERS, DaskCluster, wait_until

pytestmark = pytest.mark.places

FLOW = """
agentdeck: 1
name: flow
inputs: {{ n: integer }}
agents:
  there: {{ python: "crew:visit", place: big, with: {{ folder: "{folder}" }}, timeout: 2m }}
  pay:
    python: "crew:add_line"
    place: big
    needs: there
    once: "pay-${{task.id}}"
    with: {{ file: "{folder}/paid" }}
  here: {{ simulate: 10ms }}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    (tmp_path / "dask").mkdir()
    cluster = DaskCluster(tmp_path / "dask")
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
def folder(tmp_path: Path, cluster: DaskCluster) -> Path:
    folder = tmp_path / "flow"
    (folder / "marks").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("crew.py"), folder / "crew.py")
    (folder / "flow.yaml").write_text(FLOW.format(folder=folder / "marks"))
    (folder / "deck.yaml").write_text(
        f'agentdeck: 1\nplaces:\n  big: {{ type: dask, address: "{cluster.address}", slots: 100 }}\n'
    )
    return folder


def begin(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "agentdeck", *arguments, "--db", "runs.db"]
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)


def tasks(folder: Path, count: int) -> list[str]:
    (folder / "tasks.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(count)))
    return ["run", "flow.yaml", "--tasks", "tasks.jsonl", "--workers", "200"]


def started(folder: Path) -> int:
    return len(list((folder / "marks").glob("task-*")))


def events(folder: Path) -> list[ev.Event]:
    with closing(Reader(folder / "runs.db")) as reader:
        return [event for _, event in reader.events(reader.runs(1)[0].run)]


def test_a_cluster_that_is_gone_holds_its_steps(cluster: DaskCluster, folder: Path) -> None:
    engine = begin(folder, *tasks(folder, 10))
    wait_until(lambda: started(folder) == 10)
    port = int(cluster.address.rpartition(":")[2])
    for name in list(cluster.processes):
        cluster.kill(name)
    (folder / "marks/go").touch()
    wait_until(lambda: any(isinstance(e, ev.PlaceClosed) for e in events(folder)))
    here = {e.task for e in events(folder) if isinstance(e, ev.StepSucceeded) and e.step == "here"}
    assert len(here) == 10
    (cluster.folder / "scheduler.json").unlink()
    for name in ("first", "second"):
        cluster.start_worker(name)
    cluster.start_scheduler(port)
    assert engine.wait(60) == 0, (folder / "said").read_text()
    found = events(folder)
    assert any(isinstance(e, ev.PlaceOpened) for e in found)
    assert {e.task for e in found if isinstance(e, ev.AttemptLost)} == {str(task) for task in range(1, 11)}
    there = [e.output for e in found if isinstance(e, ev.StepSucceeded) and e.step == "there"]
    assert (len(there), "two at once" in there) == (10, False)


def test_a_run_goes_on_after_its_engine_was_killed(cluster: DaskCluster, folder: Path) -> None:
    engine = begin(folder, *tasks(folder, 100))
    wait_until(lambda: started(folder) == 100)
    for task in range(1, 21):
        (folder / f"marks/go-{task}").touch()
    paid = folder / "marks/paid"
    wait_until(lambda: paid.exists() and len(paid.read_text().splitlines()) == 20)
    wait_until(lambda: len(ended(folder, "pay")) == 20)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    (folder / "marks/go").touch()
    other = begin(folder, "resume", "last")
    assert other.wait(90) == 0, (folder / "said").read_text()
    there = {e.task: e.output for e in events(folder) if isinstance(e, ev.StepSucceeded) and e.step == "there"}
    assert {int(task): output for task, output in there.items()} == {
        task: 1 if task <= 20 else 2 for task in range(1, 101)
    }
    assert sorted(map(int, paid.read_text().split())) == list(range(1, 101))
    assert_nothing_runs(folder)


def test_what_an_engine_left_on_the_cluster_ends(cluster: DaskCluster, folder: Path) -> None:
    engine = begin(folder, *tasks(folder, 10))
    wait_until(lambda: started(folder) == 10)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    wait_until(lambda: not living(folder))


def test_a_worker_that_is_stopped_counts_as_lost(cluster: DaskCluster, folder: Path) -> None:
    engine = begin(folder, *tasks(folder, 4))
    wait_until(lambda: started(folder) == 4)
    cluster.processes["first"].send_signal(signal.SIGSTOP)
    wait_until(lambda: any(isinstance(e, ev.AttemptLost) for e in events(folder)))
    cluster.processes["first"].send_signal(signal.SIGCONT)
    (folder / "marks/go").touch()
    assert engine.wait(60) == 0, (folder / "said").read_text()
    lost = [e for e in events(folder) if isinstance(e, ev.AttemptLost)]
    assert {e.why for e in lost} == {"the worker first of the place big is gone: it has not answered for 12 s"}
    there = [e.output for e in events(folder) if isinstance(e, ev.StepSucceeded) and e.step == "there"]
    assert "two at once" not in there


def test_a_run_begins_without_a_worker_that_is_stopped(cluster: DaskCluster, folder: Path) -> None:
    (folder / "marks/go").touch()
    cluster.processes["first"].send_signal(signal.SIGSTOP)
    try:
        engine = begin(folder, *tasks(folder, 2))
        assert engine.wait(100) == 0, (folder / "said").read_text()
        assert {e.worker for e in events(folder) if isinstance(e, ev.AttemptPlaced)} == {"second"}
        listed = subprocess.run(
            [sys.executable, "-m", "agentdeck", "places", "big"], cwd=folder, capture_output=True, text=True
        )
    finally:
        cluster.processes["first"].send_signal(signal.SIGCONT)
    assert listed.returncode == 3
    assert "cannot be used: first: it does not answer within 10 s" in listed.stdout
    assert any(line.split()[0] == "second" for line in listed.stdout.splitlines() if line)


def test_a_call_is_abandoned_on_a_worker_that_does_not_answer(cluster: DaskCluster, folder: Path) -> None:
    """Its step is over, and says where the code may go on. It ends there when the worker goes on. A call is
    abandoned two seconds after its timeout: before the worker counts as lost."""
    flow = (folder / "flow.yaml").read_text()
    (folder / "flow.yaml").write_text(flow.replace("timeout: 2m", "timeout: 8s, retry: 1"))
    engine = begin(folder, *tasks(folder, 2))
    wait_until(lambda: started(folder) == 2)
    for name in WORKERS:
        cluster.processes[name].send_signal(signal.SIGSTOP)
    assert engine.wait(60) == 1, (folder / "said").read_text()
    with closing(Reader(folder / "runs.db")) as reader:
        lines = {line.text for line in reader.logs(reader.runs(1)[0].run)}
    assert lines == {f"abandoned, still running: the worker {name} does not answer" for name in WORKERS}
    for name in WORKERS:
        cluster.processes[name].send_signal(signal.SIGCONT)
    assert_nothing_runs(folder)


def test_the_cluster_keeps_nothing_of_its_calls(cluster: DaskCluster, folder: Path) -> None:
    """Neither tasks nor messages: after twice as many calls its processes are as large."""
    (folder / "marks/go").touch()
    assert begin(folder, *tasks(folder, 300)).wait(300) == 0, (folder / "said").read_text()
    before = {name: memory(process.pid) for name, process in cluster.processes.items()}
    assert begin(folder, *tasks(folder, 300)).wait(300) == 0, (folder / "said").read_text()
    grown = {name: memory(process.pid) - before[name] for name, process in cluster.processes.items()}
    assert max(grown.values()) < 4 << 20, grown


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("killed", [False, True])
def test_a_cluster_of_this_machine_ends_with_its_run(tmp_path: Path, folder: Path, killed: bool) -> None:
    (folder / "deck.yaml").write_text(
        "agentdeck: 1\nplaces:\n  big: { type: dask, local: { workers: 2, slots: 4 } }\n"
    )
    engine = begin(folder, *tasks(folder, 6))
    wait_until(lambda: started(folder) == 6)
    family = descendants(engine.pid)
    assert len([pid for pid in family if "distributed.cli.dask_worker" in command_of(pid)]) == 2
    if killed:
        os.kill(engine.pid, signal.SIGKILL)
        engine.wait()
    else:
        (folder / "marks/go").touch()
        assert engine.wait(60) == 0, (folder / "said").read_text()
        assert "distributed" not in (folder / "said").read_text()
    wait_until(lambda: not any(map(command_of, family)))


def descendants(pid: int) -> list[int]:
    found = [pid]
    parents = {int(one.name): parent_of(one) for one in Path("/proc").iterdir() if one.name.isdigit()}
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def parent_of(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command_of(pid: int) -> str:
    """Its command line; empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def ended(folder: Path, step: str) -> list[ev.StepSucceeded]:
    return [e for e in events(folder) if isinstance(e, ev.StepSucceeded) and e.step == step]


def living(folder: Path) -> list[int]:
    """The processes of the calls that have not ended."""
    pids = {int(pid) for mark in (folder / "marks").glob("task-*") for pid in mark.read_text().split()}
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def assert_nothing_runs(folder: Path) -> None:
    wait_until(lambda: not living(folder))
