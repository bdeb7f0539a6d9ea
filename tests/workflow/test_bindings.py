"""`check`: what is known of a file and of the Python that it names before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.errors import StepError
from agentdeck.workflow.check import check
from agentdeck.workflow.code_check import check_code
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.loader import load

HEAD = "agentdeck: 1\nname: w\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for modules; what was imported from it is forgotten."""
    before, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def told(folder: Path, module: str, agents: str, inputs: str = "{}") -> list[str]:
    (folder / "w_shop.py").write_text(module)
    file = folder / "w.yaml"
    file.write_text(f"{HEAD}inputs: {inputs}\nagents:\n{agents}")
    return [str(issue).removeprefix(f"{file}:") for issue in check(file)]


def test_a_function_gets_inputs_needs_with_and_what_always_is(folder: Path) -> None:
    module = (
        "def a(text, ctx): ...\n"
        "async def b(a, extra, item, previous, inputs, needs, other=1): ...\n"
        "def c(**all): ...\n"
        "class D:\n    def __init__(self, a): ...\n"
    )
    agents = (
        "  a: { python: w_shop:a }\n"
        "  b: { python: w_shop:b, needs: a, with: { extra: 1 }, each: a.list }\n"
        "  c: { python: w_shop:c, with: { any: 1 } }\n"
        "  d: { python: w_shop:D, needs: a }\n"
        "  e: { python: 'json:dumps', with: { obj: 1 } }\n"
    )
    assert told(folder, module, agents, "{ text: string }") == []


@pytest.mark.parametrize(
    ("module", "agent", "fault"),
    [
        ("", "python: w_none:f", "5:8: there is no module w_none"),
        ("import w_none", "python: w_shop:f", "5:8: w_shop cannot be imported: No module named 'w_none'"),
        (
            "import semantic_kernel",
            "python: w_shop:f",
            "5:8: w_shop cannot be imported: No module named 'semantic_kernel'; "
            "pip install 'agentdeck[semantic-kernel]'",
        ),
        (
            "from crewai import Crew",
            "python: w_shop:f",
            "5:8: w_shop cannot be imported: No module named 'crewai'; "
            "CrewAI needs an interpreter of its own: a place of type process",
        ),
        ("1/0", "python: w_shop:f", "5:8: w_shop cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "python: w_shop:f", "5:8: w_shop cannot be imported: SystemExit: 3"),
        ("raise KeyboardInterrupt", "python: w_shop:f", "5:8: w_shop cannot be imported: KeyboardInterrupt"),
        ("def f(:", "python: w_shop:f", "5:8: w_shop cannot be imported: SyntaxError"),
        ("def extract(): ...", "python: w_shop:extrat", "5:8: w_shop has no extrat; did you mean extract?"),
        ("def f(x, y): ...", "python: w_shop:f", "5:8: w_shop:f takes x, y, which is neither an input nor a"),
        ("def f(b): ...", "python: w_shop:f",
         "5:8: w_shop:f takes b, which is neither an input nor a need nor in `with`; add b to"),
        ("f = 5", "python: w_shop:f", "5:8: w_shop:f is a number, not a function"),
        (
            "f = object()",
            "python: w_shop:f",
            "5:8: w_shop:f is object, not a function; name a function, a class, or an object of a framework",
        ),
        (
            "def f(x: 'Doc'): ...",
            "with: { x: 1 }, python: w_shop:f",
            "5:24: warning: the type of x is not known, so it is not checked: Doc (NameError: name 'Doc' is not",
        ),
        ("def f(x): ...", "with: { x: 1, z: 2 }, python: w_shop:f", "5:22: warning: w_shop:f has no parameter z"),
        ("def __getattr__(n): raise OSError", "python: w_shop:f", "5:8: w_shop has no f"),
    ],
)  # fmt: skip
def test_faults_of_python_agents_have_their_place(folder: Path, module: str, agent: str, fault: str) -> None:
    found = told(folder, module, f"  a: {{ {agent} }}\n  b: {{ simulate: 1s }}\n")
    assert len(found) == 1
    assert found[0].startswith(fault), found


def test_sub_workflows_are_checked_too_and_once(folder: Path) -> None:
    (folder / "inner.yaml").write_text(HEAD + "agents:\n  a: { python: w_none:f }\n")
    file = folder / "outer.yaml"
    file.write_text(HEAD + "agents:\n  a: { workflow: inner.yaml }\n  b: { workflow: inner.yaml }\n")
    found = check(file)
    assert [(Path(i.file).name, i.line, i.column) for i in found] == [("inner.yaml", 4, 8)]


def test_a_function_without_parameters_may_make_an_object_that_takes_all(folder: Path) -> None:
    assert told(folder, "def f(): ...", "  a: { with: { task: x }, python: w_shop:f }\n") == []


def test_what_a_module_prints_is_no_output_of_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(folder, "print('hello')\ndef f(): ...", "  a: { python: w_shop:f }\n") == []
    assert capsys.readouterr().out == ""


def test_the_folder_of_the_workflow_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here = folder / "beside", folder / "here"
    for place in (beside, here):
        place.mkdir()
        (place / "w_both.py").write_text(f"WHERE = {place.name!r}")
    (here / "w_here.py").write_text("class A:\n    b = 7")
    monkeypatch.chdir(here)
    assert resolve("w_both:WHERE", beside) == "beside"
    assert resolve("w_here:A.b", beside) == 7
    with pytest.raises(StepError, match=r"w_here has no A\.c") as caught:
        resolve("w_here:A.c", beside)
    assert caught.value.fault.kind == "setup"


PYTHON = """\
from agentdeck import Workflow

order = Workflow("order")

@order.agent
async def extract(text: str) -> dict: ...

@order.agent(timeout="10s")
async def payment(extract): ...
"""
SAME = """\
agentdeck: 1
name: order
inputs: { text: {} }
agents:
  extract: { python: w_order:extract }
  payment: { python: w_order:payment, needs: extract, timeout: 10s }
"""


def test_python_and_yaml_are_the_same_value(folder: Path) -> None:
    (folder / "w_order.py").write_text(PYTHON)
    (folder / "order.yaml").write_text(SAME)
    python, yaml = load(folder / "w_order.py"), load(folder / "order.yaml")
    assert python.definition == yaml.definition
    assert python.definition.identity == yaml.definition.identity
    assert set(python.functions) == {"extract", "payment"}
    assert yaml.functions == {}
    assert check(folder / "w_order.py") == check(folder / "order.yaml") == []
    assert check_code(python.definition, folder, python.functions) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1", ": defines no workflow; define one"),
        (PYTHON + "other = Workflow('b')\n", ": defines 2 workflows; define one"),
        ("a = 1\nb = a / 0\n", ":2: cannot be imported: ZeroDivisionError"),
        ("def f(:\n", ":1: cannot be imported: SyntaxError"),
        ("raise SystemExit(0)", ":1: cannot be imported: SystemExit"),
        ("raise KeyboardInterrupt", ":1: cannot be imported: KeyboardInterrupt"),
        ("class W:\n    functions = {}\n    definition = 5\nw = W()",
         ": defines no workflow: its definition is int"),
        ("class W:\n    functions = {}\n    @property\n    def definition(self): return 1 / 0\nw = W()",
         ": defines no workflow: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_python_files_that_make_no_workflow(folder: Path, text: str, fault: str) -> None:
    file = folder / "w_bad.py"
    file.write_text(text)
    found = check(file)
    assert len(found) == 1
    assert str(found[0]).startswith(f"{file}{fault}"), found[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\xff\xfe", b"- 1", b"a: [", b"x-a: &a {<<: *a}", b"agents: {a: {workflow: \"x\\0\"}}",
     b"!!python/object:os.system {}", b"? {a: b}\n: 1", b"%YAML 9.9\n---\na: 1", b"[" * 1000, b"{" * 1000],
    ids=lambda content: repr(content[:12]),
)  # fmt: skip
def test_check_never_raises(folder: Path, content: bytes) -> None:
    file = folder / "bad.yaml"
    file.write_bytes(content)
    assert any(not issue.warning for issue in check(file))
