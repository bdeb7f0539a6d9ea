"""What was launched is what runs: tasks, modules and images, whatever becomes of their files."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentdeck.engine.task_feed import LATER, RecordedTasks
from agentdeck.errors import StoreError
from agentdeck.operations.task_files import TaskFile
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader
from agentdeck.store.tasks import BLOCK, TaskSpool, recorded
from agentdeck.store.writer import Writer
from agentdeck.workflow.loader import loads
from tests.cli.conftest import Deck
from tests.waiting import until

NOTE = """
agentdeck: 1
name: note
inputs: { v: string }
agents:
  note: { command: [sh, -c, 'echo "$0" >> noted; sleep 0.05', "${inputs.v}"] }
"""
SHOP = """
import pathlib, time
import prices
def pay(v):
    while not pathlib.Path("open").exists():
        time.sleep(0.02)
    return prices.of(v)
"""
PYTHON = """
agentdeck: 1
name: shop
inputs: { v: { type: string, default: x } }
agents:
  pay: { python: "shop:pay" }
output: "${pay}"
"""


def tasks(v: str, number: int = 30) -> str:
    return "".join(json.dumps({"v": f"{v}{n}"}) + "\n" for n in range(1, number + 1))


def noted(deck: Deck) -> list[str]:
    file = deck.folder / "noted"
    return file.read_text().split() if file.exists() else []


def killed(deck: Deck, *args: object, **given: Any) -> None:
    """Launch, and kill when a few tasks have ended."""
    process = subprocess.Popen(
        deck.command(("run", "note.yaml", "--workers", "1", *args)),
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=deck.folder, env=deck.env, **given,
    )  # fmt: skip
    deck.started.append(process)
    until(lambda: len(noted(deck)) >= 4)
    process.kill()
    process.wait()


def test_a_tasks_file_that_was_overwritten_changes_nothing(deck: Deck) -> None:
    deck.write("note.yaml", NOTE)
    file = deck.write("t.jsonl", tasks("old"))
    killed(deck, "--tasks", "t.jsonl")
    file.write_text(tasks("new", 12))
    done = deck("resume", "last", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["tasks"]["total"], told["tasks"]["done"]) == (30, 30)
    assert {name[:3] for name in noted(deck)} == {"old"}
    assert {f"old{n}" for n in range(1, 31)} == set(noted(deck))


def test_a_tasks_file_that_is_gone_changes_nothing_also_for_a_fork(deck: Deck) -> None:
    deck.write("note.yaml", NOTE)
    file = deck.write("t.csv", "v\n" + "".join(f"old{n}\n" for n in range(1, 31)))
    killed(deck, "--tasks", "t.csv")
    file.unlink()
    forked = json.loads(deck("fork", "last", "--set", "inputs.v=forked", "--json").stdout)
    assert (forked["tasks"]["total"], forked["tasks"]["done"]) == (30, 30)
    assert noted(deck).count("forked") >= 20, "the tasks that were not open yet take the new input too"
    [_, first] = json.loads(deck("runs", "--json").stdout)
    assert json.loads(deck("resume", first["run"], "--json").stdout)["tasks"]["done"] == 30
    with sqlite3.connect(deck.db) as db:
        assert db.execute("SELECT count(*) FROM task_blocks").fetchone() == (1,), "both runs share it"


@pytest.mark.parametrize("piped", [False, True])
def test_tasks_of_stdin_are_resumed(deck: Deck, piped: bool) -> None:
    deck.write("note.yaml", NOTE)
    with deck.write("t.jsonl", tasks("in")).open("rb") as file:
        if piped:
            with subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
                killed(deck, "--tasks", "-", stdin=cat.stdout)
        else:
            killed(deck, "--tasks", "-", stdin=file)
    done = deck("resume", "last", "--json")
    assert json.loads(done.stdout)["tasks"]["done"] == 30, done.stderr
    assert {f"in{n}" for n in range(1, 31)} == set(noted(deck))


def test_a_run_of_version_0_1_reads_its_file_again_and_says_so(deck: Deck) -> None:
    deck.write("note.yaml", NOTE)
    deck.write("t.jsonl", tasks("old"))
    killed(deck, "--tasks", "t.jsonl")
    with sqlite3.connect(deck.db) as db:
        db.execute("DELETE FROM run_tasks")
        db.execute("UPDATE runs SET options = json_remove(options, '$.files')")
    done = deck("resume", "last", "--json")
    assert "was launched by version 0.1, which did not record its tasks" in done.stderr
    assert json.loads(done.stdout)["tasks"]["done"] == 30


def interrupted(deck: Deck) -> None:
    deck.write("shop.yaml", PYTHON)
    deck.write("shop.py", SHOP)
    deck.write("prices.py", "def of(v):\n    return 'cheap ' + v\n")
    process = deck.start("run", "shop.yaml")
    until(lambda: "step_started" in deck.log())
    process.send_signal(signal.SIGKILL)
    process.wait()
    deck.write("open", "")


@pytest.mark.parametrize("module", ["shop.py", "prices.py"])
def test_a_changed_module_is_named_and_refused_until_it_is_accepted(deck: Deck, module: str) -> None:
    interrupted(deck)
    file = deck.folder / module
    file.write_text(file.read_text() + "\n# another line\n")
    refused = deck("resume", "last")
    assert refused.returncode == 2
    assert f"module {module} changed since" in refused.stderr
    assert "--accept-changes" in refused.stderr
    assert "run_resumed" not in deck("events", "last").stdout
    done = deck("resume", "last", "--accept-changes", "--by", "Grace")
    assert (done.returncode, done.stdout) == (0, "cheap x\n"), done.stderr
    assert f"module {module} changed since the launch; accepted by Grace (" in deck("show", "last").stdout
    log = [json.loads(line) for line in deck("events", "last", "--json").stdout.splitlines()]
    [record] = [
        event["data"] for event in log if event["event"] == "noted" and "changed" in event.get("data", {})
    ]
    assert record["changed"] == [module]
    assert record["author"]["tool"] == "cli"


def test_an_unchanged_module_is_resumed_and_a_missing_one_named(deck: Deck) -> None:
    interrupted(deck)
    (deck.folder / "prices.py").rename(deck.folder / "moved")
    assert "module prices.py is missing" in deck("resume", "last").stderr
    (deck.folder / "moved").rename(deck.folder / "prices.py")
    assert deck("resume", "last").stdout == "cheap x\n"


def test_a_retry_after_a_fix_says_what_changed_and_goes_on(deck: Deck) -> None:
    deck.write("shop.yaml", PYTHON.replace('"shop:pay"', '"shop:pay", retry: 1'))
    deck.write("shop.py", "def pay(v):\n    raise ValueError(v)\n")
    assert deck("run", "shop.yaml").returncode == 1
    deck.write("shop.py", "def pay(v):\n    return 'paid ' + v\n")
    done = deck("retry", "last", "--yes")
    assert (done.returncode, done.stdout) == (0, "paid x\n"), done.stderr
    assert "module shop.py changed since" in done.stderr
    assert "module shop.py changed since the launch" in deck("show", "last").stdout


def test_a_changed_image_of_a_prompt_is_refused(deck: Deck) -> None:
    from agentdeck.engine.source_hashes import files_of
    from agentdeck.scheduler.program import Program

    (deck.folder / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n1")
    text = "agentdeck: 1\nname: w\nagents:\n  a: { prompt: 'What is it?', images: cat.png }\n"
    program = Program(loads(text, "w.yaml", deck.folder).definition)
    before = files_of(program, deck.folder, {})
    (deck.folder / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n2")
    after = files_of(program, deck.folder, {})
    assert {name: one["kind"] for name, one in before.items()} == {"cat.png": "image"}
    assert before != after


API = """
import asyncio, sys
from agentdeck import Workflow
flow = Workflow("flow", inputs={"v": "string"})
flow.add("note", command=["sh", "-c", 'echo "$0" >> noted; sleep 0.05', "${inputs.v}"])
tasks = [{"v": f"old{n}"} for n in range(1, 31)]
asyncio.run(flow.run(db="deck.db", workers=1, tasks=iter(tasks) if sys.argv[1:] else tasks))
"""


@pytest.mark.parametrize("iterator", [False, True])
def test_tasks_of_a_python_program_are_recorded_or_their_lack_is_refused(deck: Deck, iterator: bool) -> None:
    script = [sys.executable, str(deck.write("flow_api.py", API)), *(["iterator"] if iterator else [])]
    process = subprocess.Popen(script, cwd=deck.folder, env=deck.env, text=True)
    deck.started.append(process)
    until(lambda: len(noted(deck)) >= 4)
    process.kill()
    process.wait()
    done = deck("resume", "last", "--json")
    if iterator:
        assert done.returncode == 2
        assert "came from an iterator in a program" in done.stderr
        done = deck("resume", "last", "--json", "--accept-changes")
        assert json.loads(done.stdout)["tasks"]["done"] < 30
    else:
        assert json.loads(done.stdout)["tasks"]["done"] == 30, done.stderr


# The list itself ------------------------------------------------------------------------------------------


def test_a_list_is_read_back_from_any_place_before_and_after_it_is_recorded(tmp_path: Path) -> None:
    spool = TaskSpool()
    given = [{"n": n, "text": "ä" * (n % 50)} for n in range(5000)]
    given[17]["text"] = "x" * 3 * BLOCK  # a task larger than a block
    for task in given:
        spool.add(json.dumps(task).encode())
    writer = Writer(tmp_path / "a.db")
    rest = spool.record(writer, "r")
    writer.call(rest).result(10)
    writer.close()
    reader = Reader(tmp_path / "a.db")
    for start in (0, 1, 16, 17, 18, 400, 4999, 5000):
        assert list(spool.after(start)) == given[start:]
        assert asyncio.run(stored(tmp_path / "a.db", start)) == given[start:]
    assert recorded(reader, "r") == (5000, False)
    assert recorded(reader, "other") is None
    reader.close()


async def stored(path: Path, opened: int) -> list[Mapping[str, object]]:
    """All recorded tasks after the first `opened`, as a run that is resumed gets them."""
    async with AsyncReader(path) as store:
        tasks, arrivals, found = RecordedTasks(store, "r", opened), asyncio.Event(), list[Mapping[str, object]]()
        reading = asyncio.create_task(tasks.read(arrivals.set))
        for task in tasks:
            if task is LATER:
                arrivals.clear()
                await arrivals.wait()
            else:
                found.append(task)
        await reading
    return found


def test_a_block_that_is_missing_is_an_error_once_the_tasks_before_it_are_taken(tmp_path: Path) -> None:
    writer, spool = Writer(tmp_path / "a.db"), TaskSpool()
    for n in range(9000):
        spool.add(b'{"n": %d}' % n)
    writer.call(spool.record(writer, "r")).result(10)
    writer.call(lambda db: db.execute("DELETE FROM task_blocks WHERE hash = (SELECT block FROM run_tasks"
                                      " WHERE count > 0 ORDER BY first DESC LIMIT 1)")).result(10)  # fmt: skip
    writer.close()
    with pytest.raises(StoreError, match=r"the tasks of r from \d+ on are missing"):
        asyncio.run(stored(tmp_path / "a.db", 0))


def test_what_is_recorded_is_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"v": "a\\n\\u00e4"}\r\n\n  {"v": "b"}  \n{"v": "\\ud800"}')
    definition = loads("agentdeck: 1\nname: w\ninputs: { v: string }\nagents: { a: { simulate: 1s } }").definition
    read = TaskFile(str(file), definition)
    assert list(read.spool()) == list(read) == [{"v": "a\nä"}, {"v": "b"}, {"v": "\ud800"}]
