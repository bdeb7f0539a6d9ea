"""Plugins that misbehave fail their own steps, or are named; they never take the run or the process with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App

import agentdeck
from agentdeck.cli.console import open_console
from agentdeck.cli.error_output import BUG, INTERRUPTED, guarded
from agentdeck.console.app import DeckApp
from agentdeck.console.graph.nodes import nodes_of
from agentdeck.workflow.loader import loads
from tests.plugin_packages import installed, write_package

ROOT = Path(agentdeck.__file__).parents[1]
#: An agent that does what its text says, and fails in the method that it names.
KINDS = """
    import asyncio
    from dataclasses import dataclass

    from agentdeck.agents.verb import VerbResult
    from agentdeck.errors import StepError
    from agentdeck.scheduler.events import Usage
    from agentdeck.workflow.agent_kind import AgentKind
    from agentdeck.workflow.model import Work

    def fail(does, name):
        text = does if isinstance(does, str) else does.text
        if text == name:
            raise ValueError("no licence")
        return text == f"{name} none"

    @dataclass(frozen=True)
    class Bad(Work):
        text: str
        verb = "bad"

        def seconds(self):
            return "soon" if fail(self, "seconds") else None

        def expressions(self):
            return None if fail(self, "expressions of the work") else ()

        def templates(self):
            return object() if fail(self, "templates") else None

    class BadKind(AgentKind):
        work = Bad

        def keys(self):
            from agentdeck.workflow.file_model import ABSENT, FileModel, Text

            class BadKeys(FileModel):
                bad: Text = ABSENT

            return BadKeys

        def make(self, given):
            return None if given["bad"] == "make none" else super().make(given)

        def check(self, agent):
            fail(agent.given["bad"], "check")

        def warn(self, agent):
            fail(agent.given["bad"], "warn")

        def chooses(self, given):
            return None if fail(given["bad"], "chooses") else {}

        def check_code(self, agent):
            return None if fail(agent.agent.does, "check_code") else ()

        def expressions(self, given, path):
            return None if fail(given["bad"], "expressions") else ()

        def files(self, agent, folder, function):
            return None if fail(agent.does, "files") else ()

        def target(self, agent):
            return None if fail(agent.does, "target") else "somewhere"

        def label(self, agent):
            return None if fail(agent.does, "label") else "badly"

        def described(self, agent):
            return None if fail(agent.does, "described") else "does badly"

        def asked(self, agent, fill):
            return None if fail(agent.does, "asked") else {"bad": agent.does.text}

        def runner(self, agent, context):
            if agent.does.text == "no runner":
                return None
            if agent.does.text == "exit in runner":
                raise SystemExit(3)
            return Runner(agent.does.text)

    class Runner:
        def __init__(self, text):
            self.text = text

        async def run(self, work):
            match self.text:
                case "object":
                    return {"found": object()}
                case "object with usage":
                    return VerbResult(object(), None)
                case "negative usage":
                    return VerbResult("x", Usage(-5, 1))
                case "no usage":
                    return VerbResult("x", "much")
                case "tuple":
                    return ("a", Bad("b"))
                case "unknown kind":
                    raise StepError("mood", "not today")
                case "SystemExit":
                    raise SystemExit(0)
                case "KeyboardInterrupt":
                    raise KeyboardInterrupt
                case "GeneratorExit":
                    raise GeneratorExit
                case "CancelledError":
                    raise asyncio.CancelledError("of my own")
            return self.text
"""


class Cli:
    """`agentdeck` in a folder, with the packages beside it."""

    def __init__(self, folder: Path) -> None:
        self.packages, self.folder = folder / "packages", folder / "shop"
        self.folder.mkdir()
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(self.packages)]),
            "AGENTDECK_DB": str(self.folder / "runs.db"),
        }

    def words(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "agentdeck.cli.main", *args]

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        words = self.words(*args)
        return subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)

    def write(self, agents: str) -> None:
        (self.folder / "w.yaml").write_text(f"agentdeck: 1\nname: w\nagents:\n{agents}")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    write_package(made.packages, "acme", {"agents": {"bad": "acme_bad:BadKind"}}, {"acme_bad": KINDS})
    return made


# Attempts --------------------------------------------------------------------------------------------------

ATTEMPTS = {
    "object": ("invalid", "the result.found is of type object, which is not plain data"),
    "object with usage": ("invalid", "the result is of type object, which is not plain data"),
    "negative usage": ("invalid", "the usage is wrong: tokens_in is -5, not a number of tokens"),
    "no usage": ("invalid", "the usage is of type str, not Usage"),
    "unknown kind": ("exception", "StepError of the unknown kind 'mood': not today"),
    "SystemExit": ("exception", "raised SystemExit: 0"),
    "KeyboardInterrupt": ("exception", "raised KeyboardInterrupt"),
    "GeneratorExit": ("exception", "raised GeneratorExit"),
    "CancelledError": ("exception", "raised CancelledError: of my own"),
    "no runner": ("setup", "the runner of no_runner has no run(work)"),
    "exit in runner": ("setup", "agents of the kind bad cannot run here: SystemExit: 3"),
}


def test_an_agent_that_misbehaves_fails_its_own_step(cli: Cli) -> None:
    names = {text: text.replace(" ", "_") for text in ATTEMPTS}
    agents = "".join(f"  {name}: {{ bad: {text}, retry: 1 }}\n" for text, name in names.items())
    cli.write(agents + "  fine: { bad: tuple }\n  after: { bad: well, needs: fine }\n")
    done = cli("run", "w.yaml", "--json")
    assert done.returncode == 1, done.stderr
    ended: dict[str, Any] = json.loads(done.stdout)["agents"]
    assert (ended["fine"]["done"], ended["after"]["done"]) == (1, 1)
    letters = {}
    for number in range(1, len(ATTEMPTS) + 1):
        letter = json.loads(cli("letters", "show", str(number), "--json").stdout)
        letters[letter["step"]] = letter["error"]["kind"], letter["error"]["message"]
    for text, (kind, message) in ATTEMPTS.items():
        found = letters[names[text]]
        assert found[0] == kind, (text, found)
        assert found[1].startswith(message), (text, found)


# Files -----------------------------------------------------------------------------------------------------

WRONG = "ValueError: no licence"
KIND = "a: the kind bad of acme 1.0"
CHECKS = {
    "check": (2, f"w.yaml:4:13: {KIND} failed in check: {WRONG}"),
    "check_code": (2, f"w.yaml:4:8: {KIND} failed in check_code: {WRONG}"),
    "check_code none": (
        2,
        f"w.yaml:4:8: {KIND} failed in check_code: TypeError: 'NoneType' object is not iterable",
    ),
    "warn": (0, f"w.yaml:4:13: warning: {KIND} failed in warn: {WRONG}"),
    "expressions": (3, f"agentdeck: {KIND} failed in expressions: {WRONG}"),
    "expressions none": (3, f"agentdeck: {KIND} failed in expressions: TypeError"),
    "expressions of the work": (3, f"agentdeck: {KIND} cannot use its keys: {WRONG}"),
    "expressions of the work none": (
        3,
        f"agentdeck: {KIND} cannot use its keys: TypeError: it returned NoneType",
    ),
    "chooses": (3, f"agentdeck: the kind bad of acme 1.0 failed in chooses: {WRONG}"),
    "seconds": (3, f"agentdeck: {KIND} cannot use its keys: {WRONG}"),
    "seconds none": (
        3,
        f"agentdeck: {KIND} cannot use its keys: TypeError: seconds() of its work returned 'soon'",
    ),
    "templates": (3, f"agentdeck: {KIND} cannot use its keys: {WRONG}"),
    "templates none": (3, f"agentdeck: {KIND} cannot use its keys: TypeError"),
    "make none": (3, f"agentdeck: {KIND} cannot use its keys: TypeError: it returned NoneType, not Bad"),
}


@pytest.mark.parametrize("text", CHECKS)
def test_a_kind_that_fails_in_a_file_is_named(cli: Cli, text: str) -> None:
    cli.write(f"  a: {{ bad: {text} }}\n")
    done = cli("check", "w.yaml")
    code, message = CHECKS[text]
    assert message in done.stdout + done.stderr
    assert done.returncode == code


@pytest.mark.parametrize(("text", "why"), [("files", WRONG), ("files none", "TypeError")])
def test_a_kind_that_cannot_name_its_files_is_named(cli: Cli, text: str, why: str) -> None:
    cli.write(f"  a: {{ bad: {text} }}\n")
    done = cli("run", "w.yaml")
    assert f"{KIND} failed in files: {why}" in done.stderr
    assert done.returncode == 3


# Plans and steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", " none"])
def test_plans_runs_and_steps_show_what_they_know(cli: Cli, end: str) -> None:
    methods = ("target", "label", "described", "asked")
    cli.write("".join(f"  {name}: {{ bad: {name}{end}, once: {name} }}\n" for name in methods))
    planned = cli("plan", "w.yaml")
    assert (planned.returncode, planned.stderr) == (0, "")
    done = cli("run", "w.yaml")
    assert done.returncode == 0, done.stderr
    for name in methods:
        step = cli("step", "last", "1", name)
        assert (step.returncode, step.stderr) == (0, "")
        assert ("(not known: acme 1.0 failed: " in step.stdout) == (name == "asked")


def test_the_graph_shows_the_verb_of_a_kind_that_cannot_name_itself(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installed(cli.packages, monkeypatch):
        agents = "  a: { bad: label }\n  b: { bad: label none }\n  c: { bad: target }\n"
        nodes = nodes_of(loads(f"agentdeck: 1\nname: w\nagents:\n{agents}").definition)
    sys.modules.pop("acme_bad", None)
    assert [nodes[name].about for name in "abc"] == ["bad", "bad", "badly"]


def test_a_console_that_fails_has_an_exit_code_and_prints_no_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(app: DeckApp) -> None:
        secret = "sk-do-not-print"
        raise ValueError(f"of {len(secret)} characters")

    monkeypatch.setattr(DeckApp, "on_mount", fail)
    monkeypatch.setattr(DeckApp, "run", lambda app: App.run(app, headless=True))
    assert guarded(lambda: open_console(tmp_path / "runs.db", None)) == BUG
    shown = "".join(capfd.readouterr())
    assert "this is a bug in agentdeck: ValueError: of 15 characters" in shown
    assert "sk-do-not-print" not in shown


# Providers -------------------------------------------------------------------------------------------------

PROVIDERS = """
    import asyncio, sys, time

    from agentdeck.providers.provider import PromptReply
    from agentdeck.providers.provider_type import ProviderType

    class AcmeType(ProviderType):
        simulated = True

        def create(self, context):
            return None if context.name == "none" else Acme(context.name)

    class Acme:
        def __init__(self, name):
            self.name = name

        async def answer(self, request, on_text, on_sent):
            on_sent()
            match self.name:
                case "no_answer":
                    return None
                case "text":
                    return "hello"
                case "negative":
                    return PromptReply("hello", tokens_in=-5, tokens_out=1)
                case "float":
                    return PromptReply("hello", tokens_in=5, tokens_out=1.5)
                case "exits":
                    raise SystemExit(0)
                case "raises":
                    raise ValueError("no licence")
            return PromptReply("hello", tokens_in=5, tokens_out=1)

        async def close(self):
            match self.name:
                case "close_raises":
                    raise ValueError("already closed")
                case "close_exits":
                    raise SystemExit(0)
                case "close_waits":
                    sys.stderr.write("closing now\\n")
                    await asyncio.sleep(10**6)
                case "close_blocks":
                    time.sleep(10**6)
                case "close_stays":
                    while True:
                        try:
                            await asyncio.sleep(10**6)
                        except asyncio.CancelledError:
                            pass
            if self.name.startswith("close"):
                open("closed", "w").close()
"""
ANSWERS = {
    "none": ("setup", "provider none cannot be created: its type returned NoneType, which has no answer()"),
    "no_answer": ("server", "provider no_answer: its answer is of type NoneType, not PromptReply"),
    "text": ("server", "provider text: its answer is of type str, not PromptReply"),
    "negative": ("server", "provider negative: tokens_in of its answer is -5, not a number of tokens"),
    "float": ("server", "provider float: tokens_out of its answer is 1.5, not a number of tokens"),
    "exits": ("exception", "provider exits: raised SystemExit: 0"),
    "raises": ("exception", "provider raises: ValueError: no licence"),
}


@pytest.fixture
def ask(cli: Cli) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a workflow with one prompt for each of these providers."""
    write_package(cli.packages, "acme_ai", {"providers": {"acme": "acme_ai:AcmeType"}}, {"acme_ai": PROVIDERS})

    def run(*names: str) -> subprocess.CompletedProcess[str]:
        providers = "".join(f"  {name}: {{ type: acme }}\n" for name in names)
        models = "".join(f"  {name}: {{ provider: {name}, id: m }}\n" for name in names)
        (cli.folder / "deck.yaml").write_text(f"agentdeck: 1\nproviders:\n{providers}models:\n{models}")
        cli.write("".join(f"  {name}: {{ prompt: hi, model: {name}, retry: 1 }}\n" for name in names))
        return cli("run", "w.yaml", "--json")

    return run


def test_the_third_interrupt_ends_a_run_that_closes(
    cli: Cli, ask: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    ask("close_waits")
    with subprocess.Popen(
        cli.words("run", "w.yaml"), cwd=cli.folder, env=cli.env, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        for line in ("closing now", "draining", "cancelling"):
            while line not in (shown := run.stderr.readline()):
                assert shown, f"the run ended before {line}"
            run.send_signal(signal.SIGINT)
    assert run.returncode == INTERRUPTED


def test_an_answer_that_breaks_the_interface_fails_its_step(
    cli: Cli, ask: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = ask(*ANSWERS, "fine")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["agents"]["fine"]["done"] == 1
    letters = {}
    for number in range(1, len(ANSWERS) + 1):
        letter = json.loads(cli("letters", "show", str(number), "--json").stdout)
        letters[letter["step"]] = letter["error"]["kind"], letter["error"]["message"]
    assert letters == ANSWERS


def test_a_provider_that_cannot_close_leaves_the_run_done(
    cli: Cli, ask: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = ask("close_raises", "close_exits", "close_fine")
    assert done.returncode == 0, done.stderr
    assert "provider close_raises failed to close: ValueError: already closed" in done.stderr
    assert "provider close_exits failed to close: SystemExit: 0" in done.stderr
    assert (cli.folder / "closed").exists()  # the others were closed all the same


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("close_waits", "did not close within 5 s; the run ends without it"),
        ("close_stays", "did not close within 5 s; the run ends without it"),
        ("close_blocks", "blocked all else while it closed, and was interrupted; the run ends without it"),
    ],
)
def test_a_provider_that_never_closes_is_left_behind(
    ask: Callable[..., subprocess.CompletedProcess[str]], name: str, what: str
) -> None:
    done = ask(name)
    assert done.returncode == 0, done.stderr
    assert f"provider {name} {what}" in done.stderr
