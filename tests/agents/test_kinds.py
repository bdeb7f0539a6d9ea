"""Kinds of agents: those of other packages are checked, shown, run and replayed as the built-in ones are."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest

import agentdeck
from agentdeck.documents.registry import schema
from agentdeck.engine.resume import definition_of
from agentdeck.errors import InvalidFile
from agentdeck.insight.plan import plan
from agentdeck.insight.prompt_text import asked
from agentdeck.insight.replay import Playback
from agentdeck.store.reader import Reader
from agentdeck.workflow.agent_kind import broken_kinds, kind_of, kinds
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import UnknownWork, plain, restored
from tests.plugin_packages import installed, write_package

ROOT = Path(agentdeck.__file__).parents[1]
#: The package of the example in the documentation.
ACME = next(
    code
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs/plugins.md").read_text(), re.S)
    if "class NotifyKind" in code
)
WORKFLOW = """
agentdeck: 1
name: shop
inputs:
  order: { type: integer, default: 7 }
agents:
  pay: { simulate: { takes: 1ms, returns: 12 } }
  tell: { notify: { to: ada, text: "order ${inputs.order}: ${pay}" }, urgent: true }
output: ${tell}
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with a package that adds a kind."""
    folder = tmp_path / "packages"
    entries = {"agents": {"notify": "acme_notify:NotifyKind"}}
    write_package(folder, "acme", entries, {"acme_notify": ACME})
    return folder


@pytest.fixture
def acme(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installed(packages, monkeypatch):
        yield
    sys.modules.pop("acme_notify", None)


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        loads(text, "f.yaml")
    return [str(issue) for issue in caught.value.issues]


def one_agent(keys: str) -> str:
    return f"agentdeck: 1\nname: w\nagents:\n  a: {keys}\n"


def test_the_built_in_kinds_describe_themselves() -> None:
    assert list(kinds()) == [
        *(
            "approve",
            "call",
            "cli",
            "command",
            "dispatch",
            "http",
            "mcp",
            "prompt",
            "python",
            "simulate",
            "workflow",
        ),
    ]
    assert all(kind.verb == verb for verb, kind in kinds().items())
    assert broken_kinds() == {}


# In a file -----------------------------------------------------------------------------------------------


def test_its_keys_become_its_work(acme: None) -> None:
    agent = loads(WORKFLOW).definition.agents["tell"]
    assert plain(agent.does) == {
        "verb": "notify",
        "to": ["ada"],
        "text": "order ${inputs.order}: ${pay}",
        "urgent": True,
    }
    assert agent.does.holds_worker
    assert agent.needs == ("pay",)  # inferred from the reference in its text


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ("{ notify: ada, urgnt: true }", "f.yaml:4:21: urgnt is not a key here; did you mean urgent?"),
        ("{ notify: { to: ada, zz: 1 } }", "f.yaml:4:27: zz is not a key here; there are to, text"),
        ("{ notify: {} }", "f.yaml:4:16: to is missing; add to:"),
        ("{ notify: ada, urgent: 5 }", "f.yaml:4:29: true or false is needed here, not a number"),
        ("{ notify: { to: ada, text: '${b}' } }", "f.yaml:4:33: b is neither an agent nor a known name"),
        ("{ simulate: 1s, urgent: true }", "f.yaml:4:22: urgent is only allowed with notify"),
        ("{ notify: ada, simulate: 1s }", "f.yaml:4:21: notify and simulate: only one of them is allowed"),
        ("{ notify: { to: everybody } }", "f.yaml:4:22: only what is urgent goes to everybody; add urgent: true"),
        ("{ notify: { to: a, text: '${secret.K}' } }", "f.yaml:4:31: a secret is not allowed here"),
    ],
)
def test_a_wrong_key_is_a_fault_with_its_place(acme: None, keys: str, fault: str) -> None:
    found = faults(one_agent(keys))
    assert any(one.startswith(fault) for one in found), found


def test_the_schema_has_its_keys(acme: None) -> None:
    validator = jsonschema.Draft202012Validator(schema("workflow"))
    agent = {"notify": {"to": "ada"}, "urgent": True}
    data = {"agentdeck": 1, "name": "w", "agents": {"a": agent}}
    validator.validate(data)
    agent["urgent"] = 5
    assert not validator.is_valid(data)


def test_plans_and_steps_show_it(acme: None) -> None:
    definition = loads(WORKFLOW).definition
    made = plan(definition)
    assert made.targets()["recipients"] == ["ada"]
    assert [(deed.verb, deed.target) for deed in made.deeds if deed.agent == "tell"] == [("notify", "ada")]
    agent = definition.agents["tell"]
    parts = asked(agent, {"inputs": {"order": 3}, "pay": 5})
    assert parts == {"notify": {"to": ["ada"], "text": "order 3: 5", "urgent": True}}
    assert kind_of(agent).label(agent) == "notify"
    assert kind_of(agent).described(agent) == "notify: ada"


# Plugins that cannot be used -----------------------------------------------------------------------------

BROKEN = {
    "gone": ("acme_gone:Kind", "ModuleNotFoundError: No module named 'acme_gone'"),
    "function": ("acme_broken:dataclass", "it is not a subclass of agentdeck.workflow.agent_kind.AgentKind"),
    "idle": ("acme_broken:IdleKind", "its `work` is not a dataclass derived from agentdeck.workflow.model.Work"),
    "other": ("acme_broken:WaitKind", "the verb of its `work` is not other, the name of its entry point"),
    "wait": ("acme_broken:WaitKind", "its `work` holds no worker, which is only possible for agentdeck's own"),
    "shout": ("acme_broken:ShoutKind", "its key system belongs to prompt"),
    "retry": ("acme_broken:RetryKind", "its key retry belongs to every agent"),
    "mute": ("acme_broken:MuteKind", "its keys have no mute"),
    "torn": ("acme_broken:TornKind", "its keys cannot be used: NameError: name 'missing' is not defined"),
}
KINDS = """
    from dataclasses import dataclass

    from agentdeck.workflow.agent_kind import AgentKind
    from agentdeck.workflow.file_model import ABSENT, FileModel, Text
    from agentdeck.workflow.model import Work
    from pydantic import create_model

    def kind(name, *keys, **own):
        @dataclass(frozen=True)
        class Does(Work):
            text: str = ""
            verb = name
        for key, value in own.items():
            setattr(Does, key, value)

        class Kind(AgentKind):
            work = Does

            def keys(self):
                return create_model("Keys", __base__=FileModel, **{key: (Text, ABSENT) for key in keys})

        return Kind

    IdleKind = type("IdleKind", (AgentKind,), {})
    WaitKind = kind("wait", "wait", holds_worker=False)
    ShoutKind = kind("shout", "shout", "system")
    RetryKind = kind("retry", "retry")
    MuteKind = kind("mute", "quiet")
    TornKind = kind("torn", "torn")
    TornKind.keys = lambda self: missing
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = {name: target for name, (target, _) in BROKEN.items()}
    write_package(tmp_path, "acme_broken", {"agents": {**entries, "prompt": "acme_broken:ShoutKind"}}, {
        "acme_broken": KINDS
    })  # fmt: skip
    with installed(tmp_path, monkeypatch):
        yield
    sys.modules.pop("acme_broken", None)


@pytest.mark.parametrize("verb", BROKEN)
def test_a_broken_plugin_is_named_and_left_out(broken: None, verb: str) -> None:
    target, why = BROKEN[verb]
    assert broken_kinds()[verb].startswith(f"acme_broken 1.0 ({target}): {why}")
    if verb != "retry":  # every agent has that key
        (fault,) = faults(one_agent(f"{{ {verb}: x }}"))
        assert fault.startswith(f"f.yaml:4:8: {verb} does not load: acme_broken 1.0 ({target}): {why}")
        assert fault.endswith("; see agentdeck plugins")


def test_everything_else_goes_on_beside_broken_plugins(broken: None) -> None:
    assert loads(one_agent("{ prompt: hi, system: be brief }")).definition.agents["a"].does.verb == "prompt"
    assert kinds()["prompt"].heading == "models"


LATE = """
    from dataclasses import dataclass

    from agentdeck.workflow.agent_kind import AgentKind
    from agentdeck.workflow.model import Work

    @dataclass(frozen=True)
    class Late(Work):
        text: str
        verb = "late"

        def __post_init__(self):
            if self.text == "never":
                raise ValueError("never is too late")

    class LateKind(AgentKind):
        work = Late

        def keys(self):
            from agentdeck.workflow.file_model import ABSENT, FileModel, Text

            class LateKeys(FileModel):
                late: Text = ABSENT

            return LateKeys

        def runner(self, agent, context):
            import acme_client
"""

# Runs ----------------------------------------------------------------------------------------------------


class Cli:
    """`agentdeck` in a folder, with or without the packages of a folder."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self.folder, self.packages = folder, packages
        self.db = folder / "runs.db"

    def __call__(self, *args: str, packages: bool = True) -> subprocess.CompletedProcess[str]:
        paths = [str(ROOT), *([str(self.packages)] if packages else [])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "AGENTDECK_DB": str(self.db)}
        words = [sys.executable, "-m", "agentdeck.cli.main", *args]
        return subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def cli(tmp_path: Path, packages: Path) -> Cli:
    folder = tmp_path / "shop"
    folder.mkdir()
    return Cli(folder, packages)


def test_it_runs_and_is_recorded(cli: Cli) -> None:
    (cli.folder / "w.yaml").write_text(WORKFLOW)
    assert "recipients     ada" in cli("plan", "w.yaml").stdout
    done = cli("run", "w.yaml", "--json")
    assert (done.returncode, json.loads(done.stdout)["output"]) == (
        0,
        {"to": ["ada"], "text": "order 7: 12"},
    )
    shown = cli("step", "last", "1", "tell").stdout
    assert "order 7: 12" in shown
    assert "to ada: order 7: 12" in cli("logs", "last").stdout


def test_a_plugin_that_cannot_make_its_runner_fails_its_own_steps(cli: Cli) -> None:
    write_package(cli.packages, "late", {"agents": {"late": "acme_late:LateKind"}}, {"acme_late": LATE})
    (cli.folder / "w.yaml").write_text(one_agent("{ late: x }") + "  b: { simulate: 1ms }\n")
    done = cli("run", "w.yaml", "--json")
    assert done.returncode == 1
    agents = json.loads(done.stdout)["agents"]
    assert (agents["a"]["failed"], agents["b"]["done"]) == (1, 1)
    what = "agents of the kind late cannot run here: ModuleNotFoundError: No module named 'acme_client'"
    assert what in cli("letters", "show", "1").stdout


def test_a_plugin_that_cannot_use_its_keys_is_named(cli: Cli) -> None:
    write_package(cli.packages, "late", {"agents": {"late": "acme_late:LateKind"}}, {"acme_late": LATE})
    (cli.folder / "w.yaml").write_text(one_agent("{ late: never }"))
    done = cli("check", "w.yaml")
    assert done.returncode == 3
    assert done.stderr.startswith(
        "agentdeck: a: the kind late of late 1.0 cannot use its keys: ValueError: never is too late"
    )


def test_a_run_outlives_the_plugin_of_its_agents(cli: Cli) -> None:
    (cli.folder / "w.yaml").write_text(WORKFLOW.replace("to: ada", "to: unknown"))
    assert cli("run", "w.yaml").returncode == 1

    shown = cli("show", "last", packages=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "there is no recipient unknown" in shown.stdout
    step = cli("step", "last", "1", "tell", packages=False)
    assert step.returncode == 0
    assert "unknown" in step.stdout
    assert cli("runs", packages=False).returncode == 0

    assert cli("retry", "last", packages=False).returncode == 1
    letter = json.loads(cli("letters", "show", "2", "--json", packages=False).stdout)
    what = "no installed package adds agents of the kind notify; install the plugin that does"
    assert (letter["error"]["kind"], letter["error"]["message"]) == ("setup", what)

    with closing(Reader(cli.db)) as reader:
        row = reader.runs(1)[0]
        definition = definition_of(reader, row)  # this process does not have the package
        events = list(reader.events(row.run))
    assert isinstance(definition.agents["tell"].does, UnknownWork)
    assert definition.identity == row.identity
    playback = Playback(definition, events)
    playback.seek(playback.end)
    playback.fold(budget=60)
    assert playback.settled
    assert (playback.view.state, playback.view.tasks.failed) == ("failed", 1)


def test_the_record_of_an_unknown_kind_is_kept_as_it_is(acme: None) -> None:
    data = plain(loads(WORKFLOW).definition)
    data["agents"]["tell"]["does"]["verb"] = "page"
    definition = restored(data)
    does = definition.agents["tell"].does
    assert isinstance(does, UnknownWork)
    assert plain(definition) == data
    assert definition.identity == restored(plain(definition)).identity
    agent = definition.agents["tell"]
    assert asked(agent, {})["page"] == {key: value for key, value in does.data.items() if value}
    assert kind_of(agent).label(agent) == "page"


def test_what_another_version_of_a_plugin_recorded_is_kept(acme: None) -> None:
    data = plain(loads(WORKFLOW).definition)
    data["agents"]["tell"]["does"]["channel"] = "mail"
    assert isinstance(restored(data).agents["tell"].does, UnknownWork)
    assert plain(restored(data)) == data


# The code ------------------------------------------------------------------------------------------------


def verb_comparisons(tree: ast.AST) -> Iterator[str]:
    """The comparisons of a verb of an agent with a word."""
    words = {*kinds()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            verbs = any("verb" in getattr(side, "attr", getattr(side, "id", "")) for side in sides)
            literals = {one.value for side in sides for one in ast.walk(side) if isinstance(one, ast.Constant)}
            if verbs and literals & words:
                yield ast.unparse(node)
        elif isinstance(node, ast.Match) and "verb" in ast.unparse(node.subject):
            yield ast.unparse(node.subject)


@pytest.mark.untraced
def test_only_kinds_know_their_verbs() -> None:
    """What an agent does is asked of its kind or of its work. The scheduler, the engine and what shows their work
    know the classes that they carry out or meter: Prompt, Dispatch, SubWorkflow, Approve."""
    package = Path(agentdeck.__file__).parent
    found = {
        f"{file.relative_to(package)}: {text}"
        for file in package.rglob("*.py")
        if file.relative_to(package).parts[0] != "agents"
        for text in verb_comparisons(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.untraced
def test_only_kinds_know_the_work_of_other_verbs() -> None:
    """Except for the resume of a run whose functions were given as objects, which are of Python agents, and a run
    of one step, where agents that have ended are simulated."""
    package = Path(agentdeck.__file__).parent
    work = [kind.work for kind in kinds().values()]
    own = {one.__name__ for one in work if one.__module__.startswith("agentdeck.agents.")}
    assert own == {"Cli", "Command", "Http", "Mcp", "Python", "Simulate"}
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if file.relative_to(package).parts[0] != "agents"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and {name.name for name in node.names} & own
        if (node.module or "").startswith("agentdeck.agents.")
    }
    assert found == {"operations/resume.py", "operations/single_step.py"}
