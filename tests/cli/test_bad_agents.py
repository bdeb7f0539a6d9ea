"""Agents that do what no agent should, run as a user runs them: a clear message, the right exit code, and all
that was recorded is there."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Deck
from tests.waiting import until

CODE = """
import asyncio, os, subprocess, sys, threading, time

def good(): return "good"
def an_object(): return {"deep": [1, object()]}
def not_a_number(): return float("nan")
def large(): return "x" * 100_000_000
def exits(): raise SystemExit(7)
async def exits_in_the_loop(): raise SystemExit(7)
def interrupts(): raise KeyboardInterrupt
async def interrupts_the_loop(): raise KeyboardInterrupt
async def exits_in_its_task(): await asyncio.gather(exits_in_the_loop())
async def interrupts_in_its_task(): await asyncio.gather(interrupts_the_loop())
class Broken(Exception):
    def __repr__(self): raise ValueError("no repr")
async def cannot_be_reported():
    ended = asyncio.get_running_loop().create_future()
    ended.add_done_callback(lambda _: 1 / 0)
    ended.set_exception(Broken("in a callback"))
    await ended
def recurses(): return recurses()
def busy_in_a_thread():
    while True: pass
async def busy():
    while True: pass
async def sleeps():
    time.sleep(1000)
async def in_a_thread_of_its_own():
    await asyncio.to_thread(time.sleep, 1000)
async def ignores():
    while True:
        try: await asyncio.sleep(1000)
        except asyncio.CancelledError: pass
def leaves_a_thread():
    threading.Thread(target=time.sleep, args=[1000]).start()
    return "good"
def prints():
    print("printed"); print("wrong", file=sys.stderr)
    os.write(1, b"to the file itself\\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"])
    return "good"
async def prints_in_the_loop(): print("printed"); return "good"
"""


def write(deck: Deck, *agents: str, more: str = "") -> None:
    deck.write("bad_agents.py", CODE)
    lines = "".join(f"  {line}\n" for line in agents)
    deck.write("w.yaml", f"agentdeck: 1\nname: w\n{more}agents:\n{lines}")


def python(*names: str, keys: str = "retry: 1") -> list[str]:
    return [f"{name}: {{ python: 'bad_agents:{name}', {keys} }}" for name in names]


def failures(deck: Deck, told: str) -> dict[str, str]:
    """What was said of each agent that failed; the store has the same, as letters."""
    found = [line.removeprefix("task 1: ") for line in told.splitlines() if " failed: " in line]
    said = dict(line.split(" failed: ", 1) for line in found)
    causes = json.loads(deck("letters", "--json").stdout)
    assert {letter["step"] for cause in causes for letter in cause["letters"]} == set(said)
    return said


def test_what_an_agent_raises_or_returns_ends_itself_and_no_other(deck: Deck) -> None:
    wrong = {
        "an_object": "the result.deep[1] is of type object, which is not plain data; return a dict, list,",
        "not_a_number": "the result is nan, which JSON cannot represent; return a number or None",
        "large": "the result is at least 100.0 MB, over the limit of 16 MB; write it to a file and return its",
        "exits": "raised SystemExit: 7",
        "exits_in_the_loop": "raised SystemExit: 7",
        "interrupts": "raised KeyboardInterrupt",
        "interrupts_the_loop": "raised KeyboardInterrupt",
        "exits_in_its_task": "raised SystemExit: 7",
        "interrupts_in_its_task": "raised KeyboardInterrupt",
        "cannot_be_reported": "Broken: in a callback",
        "recurses": "RecursionError: maximum recursion depth exceeded",
    }
    write(deck, *python("good", *wrong))
    done = deck("run", "w.yaml", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["state"], told["letters"]) == (1, "failed", len(wrong))
    assert (told["steps"]["done"], told["steps"]["failed"]) == (1, len(wrong))
    assert "Traceback" not in done.stderr
    said = failures(deck, done.stderr)
    assert {name: said[name][: len(text)] for name, text in wrong.items()} == wrong
    assert json.loads(deck("show", "last", "--json").stdout) == told


def test_functions_that_never_return_do_not_hold_the_process(deck: Deck) -> None:
    stay = ["busy_in_a_thread", "in_a_thread_of_its_own", "ignores"]
    write(deck, *python(*stay, keys="retry: 1, timeout: 200ms"), *python("leaves_a_thread"))
    done = deck("run", "w.yaml", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["steps"]["done"], told["steps"]["failed"]) == (1, 1, 3)
    assert set(failures(deck, done.stderr).values()) == {"no answer within 0.2 s (attempt timeout)"}


@pytest.mark.parametrize("name", ["busy", "sleeps"])
def test_one_that_never_yields_is_named_and_ends_by_its_clock(deck: Deck, name: str) -> None:
    write(deck, *python(name, keys="retry: 1, timeout: 1500ms"), "after: { simulate: 10ms, needs: other }",
          "other: { simulate: 10ms }")  # fmt: skip
    done = deck("run", "w.yaml", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["steps"]["done"], told["steps"]["failed"]) == (1, 2, 1)
    assert f"task 1: {name} blocks all other steps" in done.stderr
    assert "never awaited" in failures(deck, done.stderr)[name]
    assert "blocks all other steps" in deck("logs", "last", "--agent", name).stdout
    failed = [e for e in events(deck) if e["event"] == "attempt_failed"]
    assert [(e["fault"]["kind"], e["fault"]["clock"]) for e in failed] == [("timeout", "attempt")]


def test_nobody_takes_a_run_up_while_an_agent_holds_its_loop(deck: Deck) -> None:
    write(deck, *python("busy", keys="retry: 1, timeout: 10m"))
    process = deck.start("run", "w.yaml")
    until(lambda: "blocks all other steps" in deck("logs", "last").stdout)
    [row] = json.loads(deck("runs", "--json").stdout)
    taken = deck("resume", "last")
    assert row["state"] == "running"
    assert (taken.returncode, "is running in process" in taken.stderr) == (2, True), taken.stderr
    process.kill()


@pytest.mark.usefixtures("each_loop")
def test_control_c_twice_ends_an_agent_that_never_yields(deck: Deck) -> None:
    write(deck, *python("busy", keys="retry: 1, timeout: 10m"))
    process = deck.start("run", "w.yaml")
    until(lambda: "blocks all other steps" in deck("logs", "last").stdout)
    process.send_signal(signal.SIGINT)
    until(lambda: pending(process.pid, signal.SIGINT) is False)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    [row] = json.loads(deck("runs", "--json").stdout)
    assert row["state"] in ("failed", "cancelled")


def pending(pid: int, number: int) -> bool:
    """Whether a signal has been sent to a process and not been taken yet."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("ShdPnd:", "SigPnd:"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def test_stdout_is_data_whatever_agents_write(deck: Deck) -> None:
    write(deck, *python("prints", "prints_in_the_loop"))
    done = deck("run", "w.yaml", "--json")
    assert json.loads(done.stdout)["output"] == {"prints": "good", "prints_in_the_loop": "good"}
    assert "to the file itself" in done.stderr
    assert "from a child" in done.stderr
    assert "printed" not in done.stderr
    said = deck("logs", "last", "--agent", "prints").stdout
    assert "printed" in said
    assert "wrong" in said


def test_a_module_that_prints_or_exits_when_it_is_imported(deck: Deck) -> None:
    write(deck, "a: { python: 'noisy:f' }")
    deck.write("noisy.py", "print('hello')\ndef f(): return 1\n")
    done = deck("run", "w.yaml", "--json")
    assert json.loads(done.stdout)["output"] == 1
    deck.write("noisy.py", "import sys\nsys.exit(0)\n")
    done = deck("run", "w.yaml", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "w.yaml:4:8: noisy cannot be imported: SystemExit: 0" in done.stderr


def test_faults_of_functions_are_told_before_anything_runs(deck: Deck) -> None:
    deck.write("shop.py", "def takes(nothing_known): ...\nvalue = 3\n")
    deck.write("broken.py", "def f(:\n")
    deck.write("lacking.py", "import no_such_module_at_all\n")
    write(
        deck,
        "a: { python: 'nowhere:f' }",
        "b: { python: 'broken:f' }",
        "c: { python: 'lacking:f' }",
        "d: { python: 'shop:tkaes' }",
        "e: { python: 'shop:takes' }",
        "f: { python: 'shop:value' }",
    )
    for verb in ("check", "run"):
        done = deck(verb, "w.yaml")
        said = done.stdout + done.stderr
        assert done.returncode == 2
        assert "w.yaml:4:8: there is no module nowhere" in said
        assert "w.yaml:5:8: broken cannot be imported: SyntaxError" in said
        assert "w.yaml:6:8: lacking cannot be imported: No module named 'no_such_module_at_all'" in said
        assert "w.yaml:7:8: shop has no tkaes; did you mean takes?" in said
        assert "w.yaml:8:8: shop:takes takes nothing_known, which is neither an input nor a need" in said
        assert "w.yaml:9:8: shop:value is a number, not a function" in said
    assert not deck.db.exists()


def test_workflows_that_use_each_other_and_values_that_name_nothing(deck: Deck) -> None:
    deck.write("one.yaml", "agentdeck: 1\nname: one\nagents:\n  a: { workflow: two.yaml }\n")
    deck.write("two.yaml", "agentdeck: 1\nname: two\nagents:\n  b: { workflow: one.yaml }\n")
    done = deck("run", "one.yaml")
    assert done.returncode == 2
    assert "two.yaml:4:18: a workflow contains itself: one.yaml -> two.yaml -> one.yaml" in done.stderr
    write(deck, "a: { simulate: 1ms }", "b: { needs: a, simulate: 1ms, with: { x: '${nobody.name}' } }")
    done = deck("run", "w.yaml")
    assert done.returncode == 2
    assert "w.yaml:5:" in done.stderr
    assert "nobody is neither an agent nor a known name" in done.stderr
    assert not deck.db.exists()


def test_commands_that_flood_are_missing_or_leave_children(deck: Deck) -> None:
    flood = "import os\nblock = b'x' * 1_000_000\nfor _ in range(100): os.write(1, block)"
    number = 10_000 + os.getpid()
    child = f"import subprocess; subprocess.Popen(['sleep', '{number}']); print(5)"
    write(
        deck,
        f"flood: {{ command: {json.dumps([sys.executable, '-c', flood])}, retry: 1 }}",
        "missing: { command: [no-such-command-anywhere], retry: 1 }",
        f"mother: {{ command: {json.dumps([sys.executable, '-c', child])}, retry: 1 }}",
    )
    done = deck("run", "w.yaml", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["steps"]["done"], told["steps"]["failed"]) == (1, 1, 2)
    said = failures(deck, done.stderr)
    assert said["flood"].startswith("wrote 96 MB to stdout, the limit is 4 MB; print the result as one line")
    assert said["missing"].startswith("no such command: no-such-command-anywhere; install it")
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if f"sleep\0{number}".encode() in command(pid)]


def command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def events(deck: Deck) -> list[dict[str, Any]]:
    return [json.loads(line) for line in deck("events", "last", "--json").stdout.splitlines()]
