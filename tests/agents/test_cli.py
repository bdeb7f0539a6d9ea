"""`cli`: coding agents, played by programs of their names that print what the real ones printed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import anyio
import pytest

from agentdeck.agents.cli import CliKind
from agentdeck.agents.cli_runner import CliVerb
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import InvalidFile, StepError
from agentdeck.scheduler.events import Usage
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Agent, Data, Definition

pytestmark = pytest.mark.anyio
RECORDED = Path(__file__).parents[1] / "data" / "cli"
#: Keeps how it was called, prints a file, and ends with a code.
PROGRAM = """#!{python}
import json, os, sys
with open("called.json", "w") as file:
    json.dump({{"args": sys.argv[1:], "stdin": sys.stdin.read(), "env": dict(os.environ)}}, file)
sys.stdout.write(open({prints!r}).read())
sys.stderr.write({errors!r})
sys.exit({code})
"""


class Played:
    """A coding agent that is played: `run` executes an agent with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[tuple[str, str]] = []

    def program(self, name: str, prints: str | Path, code: int = 0, errors: str = "") -> str:
        if isinstance(prints, str):
            (self.folder / "printed").write_text(prints, encoding="utf-8")
            prints = self.folder / "printed"
        file = self.folder / name
        file.write_text(PROGRAM.format(python=sys.executable, prints=str(prints), code=code, errors=errors))
        file.chmod(0o755)
        return str(file)

    async def run(self, program: str, fault: str = "", **more: Data) -> Data | VerbResult:
        does = CliKind().make({"cli": {"program": [program], "prompt": "What is it?", **more}})
        agent = Agent("a", does)
        context = WorkflowContext(Definition("w", {"a": agent}), self.folder, anyio.sleep)

        def log(text: str, level: str = "info") -> None:
            self.lines += [(level, line) for line in text.split("\n")]

        work = AttemptContext("r1", "1", "a", 1, agent, {}, {}, log, lambda: None, fault=fault)
        return await CliVerb(agent, context).run(work)

    def called(self) -> dict[str, Data]:
        made: dict[str, Data] = json.loads((self.folder / "called.json").read_text())
        return made


@pytest.fixture
def played(tmp_path: Path) -> Played:
    return Played(tmp_path)


@pytest.mark.parametrize(
    ("name", "usage", "lines"),
    [
        (
            "claude",
            Usage(70, 14, 10, 0.000655, model="claude-opus-4-8[1m]"),
            ['→ Bash {"command": "echo hello-tool", "description": "say"}', "← Bash hello-tool"],
        ),
        ("codex", Usage(60, 14, 10), ["→ shell /bin/bash -lc 'echo hello-tool'", "← shell hello-tool"]),
        (
            "gemini",
            Usage(60, 14, 10, model="gemini-x"),
            ['→ list_directory {"dir_path": "."}', "← list_directory Directory is empty."],
        ),
    ],
)
async def test_answer_usage_and_tool_calls_are_taken_from_the_events(
    played: Played, name: str, usage: Usage, lines: list[str]
) -> None:
    result = await played.run(played.program(name, RECORDED / f"{name}-done.jsonl"))
    assert result == VerbResult("The answer is 42.", usage)
    assert [text for _, text in played.lines] == [*lines, "The answer is 42."]
    called = played.called()
    assert called["stdin"] == "What is it?"
    assert "What is it?" not in called["args"]


@pytest.mark.parametrize(
    ("name", "errors", "kind", "message"),
    [
        ("claude", "", "server", "claude: API Error: 500 no luck"),
        ("codex", "", "exit", "codex: We’re currently experiencing high demand"),
        ("gemini", "  status: 401\n", "auth", "gemini: [API Error: "),
    ],
)
async def test_an_error_is_a_failure_with_its_text(
    played: Played, name: str, errors: str, kind: str, message: str
) -> None:
    program = played.program(name, RECORDED / f"{name}-failed.jsonl", 1, errors)
    with pytest.raises(StepError) as caught:
        await played.run(program)
    assert caught.value.fault.kind == kind
    assert caught.value.fault.message.startswith(message)


async def test_requests_that_it_repeats_by_itself_are_logged(played: Played) -> None:
    with pytest.raises(StepError):
        await played.run(played.program("claude", RECORDED / "claude-failed.jsonl", 1))
    assert ("warning", "asks again after 500: 1 of 1") in played.lines


async def test_an_error_that_is_named_a_success_and_an_exit_code_of_zero_do_not_hide_a_failure(
    played: Played,
) -> None:
    end = '{"type": "result", "subtype": "success", "is_error": true, "result": "out of credit"}\n'
    with pytest.raises(StepError, match="claude: out of credit"):
        await played.run(played.program("claude", end, 0))
    end = '{"type": "result", "subtype": "success", "is_error": false, "result": "fine", "total_cost_usd": 0.5}\n'
    with pytest.raises(StepError, match="exited with 143 after its result") as caught:
        await played.run(played.program("claude", end, 143))
    assert caught.value.usage.usd == 0.5
    with pytest.raises(StepError, match="gemini ended without a result") as caught:
        await played.run(played.program("gemini", '{"type": "init"}\n', 0, "interrupted\n"))
    assert "interrupted" in caught.value.fault.detail


async def test_events_and_lines_that_are_not_known_are_logged(played: Played) -> None:
    prints = (
        'plain text\n{"type": "thought", "text": "hm"}\n[1]\n{broken\n'
        '{"type": "item.completed", "item": {"type": "new_kind", "x": 1}}\n'
        '{"type": "item.completed", "item": {"type": "agent_message", "text": "yes"}}\n'
        '{"type": "turn.completed"}\n'
    )
    result = await played.run(played.program("codex", prints))
    assert result == VerbResult("yes", None)
    assert [text for _, text in played.lines] == [
        "plain text",
        '{"type": "thought", "text": "hm"}',
        "[1]",
        "{broken",
        '{"type": "item.completed", "item": {"type": "new_kind", "x": 1}}',
        "yes",
    ]


async def test_it_has_a_home_of_its_own_and_its_own_retries_are_few(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_HOME", "/home/ada/.codex")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    program = played.program("codex", RECORDED / "codex-done.jsonl")
    await played.run(program, allow=["workspace-write"], model="gpt-x", env={"OPENAI_BASE_URL": "http://h/v1"})
    called = played.called()
    env = called["env"]
    assert "CODEX_HOME" not in env
    assert env["HOME"] != os.environ.get("HOME")
    assert not os.path.exists(env["HOME"])  # noqa: ASYNC240, PTH110
    args = " ".join(called["args"])
    assert args.startswith("exec --json --skip-git-repo-check --sandbox workspace-write --model gpt-x -c ")
    assert 'base_url="http://h/v1"' in args
    assert "stream_max_retries=2" in args
    await played.run(program, env={"HOME": "/home/ada"})
    assert played.called()["env"]["HOME"] == "/home/ada"


async def test_claude_gets_its_tools_and_the_fault_of_the_answer_before(played: Played) -> None:
    program = played.program("claude", RECORDED / "claude-done.jsonl")
    await played.run(program, fault="field n is missing", allow=["Edit", "Bash(git log:*)"])
    called = played.called()
    assert called["args"][-2:] == ["--allowedTools", "Edit,Bash(git log:*)"]
    assert called["stdin"].endswith("\n\nA previous answer was invalid: field n is missing.")
    assert called["env"]["CLAUDE_CODE_MAX_RETRIES"] == "2"


async def test_another_program_gets_the_prompt_and_its_text_is_the_result(played: Played) -> None:
    assert await played.run(played.program("mine", "It is 42.\n")) == "It is 42."
    with pytest.raises(StepError, match="exited with 3: no"):
        await played.run(played.program("mine", "", 3, "no\n"))


async def test_a_program_that_is_not_installed_is_named(played: Played) -> None:
    with pytest.raises(StepError, match="no such command: no-such-coding-agent; install it"):
        await played.run("no-such-coding-agent")


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("{ program: claude }", "prompt is missing; add prompt:"),
        ("{ program: claude, prompt: ' ' }", "f.yaml:4:40: "),
        ("{ program: claude -p, prompt: x }", "a program with arguments is a list; write [claude, -p]"),
        ("{ program: codex, prompt: x, allow: all }", "for codex this is its sandbox; name one of read-only, "),
        ("{ program: aider, prompt: x, allow: all }", "allow is only known for claude, codex, gemini"),
        ("{ program: claude, prompt: x, alow: y }", "alow is not a key here; did you mean allow?"),
        ("{ program: claude, prompt: '${secret.X}' }", "secret"),
        ("{ program: gemini, prompt: x }, gateway: true", "gemini speaks an API of its own, which the gateway"),
    ],
)
def test_bad_input_is_named_with_its_place(spec: str, fault: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        loads(f"agentdeck: 1\nname: w\nagents:\n  a: {{ cli: {spec} }}\n", "f.yaml")
    assert any(fault in str(issue) for issue in caught.value.issues), [str(i) for i in caught.value.issues]
