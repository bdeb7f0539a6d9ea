"""`command` against real processes."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentdeck.agents.command import Command
from agentdeck.agents.command_output import FAILURE_TAIL, MOST_LINES
from agentdeck.agents.command_runner import CommandVerb
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import Fault, StepError
from agentdeck.workflow.model import Agent, Data, Definition

pytestmark = pytest.mark.anyio


class Deck:
    """One command agent, and what it logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[tuple[str, str]] = []

    async def run(self, *args: str, scope: Mapping[str, Data] | None = None, **fields: Any) -> Data:
        agent = Agent("a", Command(args, **fields))
        setting = WorkflowContext(Definition("w", {"a": agent}), self.folder, anyio.sleep)

        def log(text: str, level: str = "info") -> None:
            self.lines.append((level, text))

        work = AttemptContext("r1", "t1", "a", 2, agent, scope or {}, {}, log, lambda: None)
        return await CommandVerb(agent, setting).run(work)

    async def python(self, code: str, *args: str, **fields: Any) -> Data:
        return await self.run(sys.executable, "-c", code, *args, **fields)

    async def fault(self, *args: str, **fields: Any) -> Fault:
        with pytest.raises(StepError) as caught:
            await self.run(*args, **fields)
        return caught.value.fault


@pytest.fixture
def deck(tmp_path: Path) -> Deck:
    return Deck(tmp_path)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in (b"Z", b"X")


def started(path: Path) -> bool:
    return path.exists() and bool(path.read_text())


async def test_metacharacters_are_literal(deck: Deck) -> None:
    nasty = "a b; touch x $(id) `id` | & > y * \"q\" 'q' \n $HOME"
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    scope = {"inputs": {"x": nasty, "n": [1, None], "z": None}}
    given = await deck.python(code, "${inputs.x}", "-${inputs.x}", "${inputs.n}", "${inputs.z}", scope=scope)
    assert given == [nasty, "-" + nasty, "[1, null]", ""]
    assert not list(deck.folder.iterdir())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('hello\n{"a": 1}\n\n', {"a": 1}),
        ("hello\n[1]", [1]),
        ('{\n "a": [1,\n 2]\n}\n', {"a": [1, 2]}),
        ("42\n", 42),
        ("  two\nlines \n", "two\nlines"),
        ("x\n7", "x\n7"),
        ("[NaN]", "[NaN]"),
        ("", ""),
        ("[" * 5000, "[" * 5000),
    ],
)
async def test_result(deck: Deck, text: str, value: Data) -> None:
    assert await deck.python("import sys; sys.stdout.write(sys.argv[1])", text) == value


async def test_log_is_streamed_by_line(deck: Deck) -> None:
    code = "import sys, time; print('one', flush=True); time.sleep(.3); sys.stderr.write('two\\r\\nthree')"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deck.python, code)
        with anyio.fail_after(60):
            while not deck.lines:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert deck.lines == [("out", "one")]
    assert deck.lines == [("out", "one"), ("err", "two"), ("err", "three")]


async def test_env_cwd_and_input(deck: Deck) -> None:
    (deck.folder / "sub").mkdir()
    code = (
        "import json, os, sys; e = os.environ; print(json.dumps([e['X'], e['AGENTDECK_RUN'], e['AGENTDECK_TASK'],"
        " e['AGENTDECK_STEP'], e['AGENTDECK_ATTEMPT'], 'PATH' in e, os.path.basename(os.getcwd()),"
        " len(sys.stdin.read())]))"
    )
    scope = {"inputs": {"x": {"k": True}, "long": "é" * 300_000}}
    given = await deck.python(code, env={"X": "${inputs.x}"}, cwd="sub", input="${inputs.long}", scope=scope)
    assert given == ['{"k": true}', "r1", "t1", "a", "2", True, "sub", 300_000]


async def test_stdin_is_empty_and_unread_input_does_no_harm(deck: Deck) -> None:
    assert await deck.python("import sys; print(repr(sys.stdin.read()))") == "''"
    assert await deck.run("true", input="x" * 1_000_000) == ""


async def test_exit_code_and_signal(deck: Deck) -> None:
    fault = await deck.fault("sh", "-c", "echo first >&2; echo broken >&2; echo >&2; exit 3")
    assert (fault.kind, fault.message) == ("exit", "exited with 3: broken")
    assert "first" in fault.detail
    assert (await deck.fault("sh", "-c", "exit 4")).message == "exited with 4"
    assert (await deck.fault("sh", "-c", "kill -KILL $$")).message == "ended by SIGKILL"


async def test_a_failure_keeps_the_end_of_both_streams(deck: Deck) -> None:
    fault = await deck.fault("sh", "-c", "echo found 3 problems; echo one warning >&2; exit 1")
    assert fault.message == "exited with 1: one warning"
    assert fault.detail == "stdout:\nfound 3 problems\nstderr:\none warning"
    fault = await deck.fault("sh", "-c", "echo a.py:1 unused import; exit 1")
    assert fault.message == "exited with 1: a.py:1 unused import"
    fault = await deck.fault(sys.executable, "-c", "print('é' * 50_000, 'end'); raise SystemExit(2)")
    assert fault.detail.startswith(f"stdout (100,005 bytes, the last {FAILURE_TAIL:,} characters):\né")
    assert fault.detail.endswith("é end")
    assert len(fault.detail) < FAILURE_TAIL + 100


async def test_exit_codes_that_are_accepted(deck: Deck) -> None:
    assert await deck.run("sh", "-c", "echo '[\"a\"]'; exit 1", ok=(0, 1)) == ["a"]
    assert deck.lines[-1] == ("info", "exited with 1, which `ok` accepts")
    assert (await deck.fault("sh", "-c", "exit 2", ok=(0, 1))).message == "exited with 2"
    assert (await deck.fault("true", ok=(1,))).message == "exited with 0"
    assert (await deck.fault("sh", "-c", "kill -KILL $$", ok=(0, 9))).message == "ended by SIGKILL"


async def test_setup_faults(deck: Deck) -> None:
    fault = await deck.fault("no-such-thing-here")
    assert fault.kind == "setup"
    assert fault.message.startswith("no such command: no-such-thing-here; ")
    fault = await deck.fault("true", cwd="gone")
    assert fault.kind == "setup"
    assert fault.message.startswith("cwd does not exist")
    (deck.folder / "plain").write_text("x")
    assert "is not a folder" in (await deck.fault("true", cwd="plain")).message
    fault = await deck.fault("./plain")
    assert fault.kind == "setup"
    assert "no permission to run" in fault.message
    (deck.folder / "script").write_text("#!/no/such/interpreter\n")
    (deck.folder / "script").chmod(0o755)
    assert "interpreter" in (await deck.fault("./script")).message
    assert (await deck.fault("${inputs.x}", scope={"inputs": {}})).kind == "setup"
    for value in ("a\0b", "\ud800"):
        assert (await deck.fault("echo", "${inputs.x}", scope={"inputs": {"x": value}})).kind == "setup"
    assert (await deck.fault("echo", "${1 / 0}")).kind == "expression"


async def test_cancel_kills_what_ignores_term(deck: Deck) -> None:
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); child = os.fork();"
        "open(f'pid{int(not child)}', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    files = [deck.folder / "pid0", deck.folder / "pid1"]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deck.python, code)
        with anyio.fail_after(60):
            while not all(map(started, files)):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert not any(lives(int(file.read_text())) for file in files)


async def test_cancel_of_a_polite_one_does_not_wait_for_its_end(deck: Deck) -> None:
    with anyio.fail_after(60), anyio.move_on_after(0.3) as scope:
        await deck.run("sleep", "300")
    assert scope.cancelled_caught


async def test_left_behind_child_is_killed(deck: Deck) -> None:
    pid = await deck.run("sh", "-c", "sleep 300 & echo $!")
    assert isinstance(pid, int)
    assert not lives(pid)


async def test_pipe_held_by_one_that_escaped_does_not_hang(deck: Deck) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '300'], start_new_session=True).pid)"
    pid = await deck.python(code)
    assert isinstance(pid, int)
    assert lives(pid), "nobody waited for it"
    os.kill(pid, 9)


async def test_flood_is_bounded(deck: Deck) -> None:
    code = "import sys\nfor _ in range(800): sys.stdout.write(('y' * 63 + '\\n') * 1024)\n"
    tracemalloc.start()
    try:
        with pytest.raises(StepError) as caught:
            await deck.python(code)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
    assert caught.value.fault.kind == "invalid"
    assert caught.value.fault.message == (
        "wrote 50 MB to stdout, the limit is 4 MB; print the result as one line of JSON at the end"
    )
    assert len(deck.lines) == MOST_LINES + 1
    assert deck.lines[-1][1] == f"… {800 * 1024 - MOST_LINES:,} lines dropped"


async def test_flood_with_a_result_at_the_end(deck: Deck) -> None:
    code = "print('x' * 12_000_000); print('{\"ok\": true}')"
    assert await deck.python(code) == {"ok": True}
    assert max(len(text) for _, text in deck.lines) <= 64 * 1024
    with pytest.raises(StepError, match="wrote 12 MB"):
        await deck.python("print('[' + '1,' * 6_000_000 + '1]')")


async def test_many_at_once(deck: Deck) -> None:
    given: list[Data] = []

    async def one(n: int) -> None:
        given.append(await deck.run("echo", str(n)))

    async with anyio.create_task_group() as tasks:
        for n in range(50):
            tasks.start_soon(one, n)
    assert sorted(given) == list(range(50))
