"""Files that load, and every fault with its place."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow.loader import load, loads
from agentdeck.workflow.model import Join, OnError, Retry, Timeout, plain, restored

ROOT = Path(__file__).parents[2]

FULL = (Path(__file__).parent / "full.yaml").read_text()


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        loads(textwrap.dedent(text), "f.yaml")
    return [str(issue) for issue in caught.value.issues]


def warnings(text: str) -> list[Issue]:
    return list(loads(textwrap.dedent(text), "f.yaml").warnings)


def agents(*lines: str) -> str:
    return "agentdeck: 1\nname: w\nagents:\n" + "\n".join(f"  {line}" for line in lines) + "\n"


def test_the_shortest_file_already_has_timeout_retries_and_isolation() -> None:
    order = loads(
        agents("extract: { python: shop:extract }", "pay: { python: shop:pay, needs: extract }")
    ).definition
    assert order.agents["pay"].needs == ("extract",)
    assert order.agents["pay"].timeout == Timeout(attempt=30.0)
    assert order.agents["pay"].retry == Retry(3, 1.0, 2.0, 60.0)
    assert order.agents["pay"].on_error == OnError("fail")


def test_the_full_file_loads_whole() -> None:
    loaded = loads(FULL)
    review = loaded.definition
    assert loaded.warnings == ()
    assert list(review.agents)[:2] == ["diff", "notes"]
    assert review.agents["synthesis"].join == Join("quorum", 3, 60.0, 2, "cancel")
    assert review.agents["security"].needs == ("notes",)
    assert review.agents["security"].tier == "reasoning"
    assert review.agents["security"].output == review.agents["performance"].output
    assert review.agents["style"].on_error.fallback == "linter"
    assert review.budget is not None
    assert review.budget.ladder == ((0.7, "reduce"), (0.85, "downgrade"), (0.95, "drop"), (1.0, "ask"))
    assert review.agents["sign_off"].timeout.attempt == 30.0


def test_identity_is_the_content_and_survives_being_stored() -> None:
    review = loads(FULL).definition
    spaced = loads(FULL.replace("agentdeck: 1\n", "agentdeck:   1\n# remark\n")).definition
    assert review == spaced
    assert review.identity == spaced.identity
    assert restored(plain(review)) == review
    assert loads(FULL.replace("min: 2", "min: 1")).definition.identity != review.identity


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda f: f.stem)
def test_examples_load_without_a_warning(file: Path) -> None:
    assert load(file).warnings == ()


def test_needs_are_read_off_the_references() -> None:
    text = agents(
        "a: { simulate: 1s }",
        "b: { simulate: 1s }",
        'c: { command: [echo, "${a.x}"], when: b.ok, with: { n: "${inputs.n or 1}" } }',
    ).replace("agents:", "inputs: { n: integer }\nagents:")
    assert loads(text).definition.agents["c"].needs == ("a", "b")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a: { comand: [ls], simulate: 1s }", "f.yaml:4:8: comand is not known here; did you mean command?"),
        ("a: { simulate: 1s, python: m:f }", "f.yaml:4:8: python and simulate: only one of them can be there"),
        ("a: { needs: [] }", "f.yaml:4:3: it does nothing; give it one of python"),
        ("a: { simulate: 1s, needs: zz }", "f.yaml:4:29: a needs zz, which is not an agent here; there are a"),
        ("a: { simulate: 1s, timeout: 30 }", "f.yaml:4:31: 30 is not a duration; write 30s"),
        ("a: { simulate: 1s, timeout: soon }", "f.yaml:4:31: 'soon' is not a duration"),
        ("a: { simulate: { takes: 1s, fails: 5 } }", "f.yaml:4:38: 5 is not a share"),
        ("a: { simulate: 1s, retry: 0 }", "f.yaml:4:29: 0 is too small; the least is 1"),
        (
            "a: { simulate: 1s, retry: many }",
            "f.yaml:4:29: a number of attempts or a map is needed here, not text",
        ),
        ("a: { simulate: 1s, simulate: 2s }", "f.yaml:4:22: simulate stands here twice, first in line 4"),
        ("a: { simulate: 1s, when: 'x(' }", "f.yaml:4:28: 'x(' is not an expression"),
        ("a: { simulate: 1s, when: zz.y }", "f.yaml:4:28: zz is neither an agent nor a known name"),
        ("a: { command: [echo, '${inputs.zz}'] }", "f.yaml:4:24: there is no input zz; add it to inputs: zz"),
        (
            "a: { command: ls -l }",
            'f.yaml:4:17: a list of arguments, like ["git", "log"], is needed here, not text',
        ),
        ("a: { simulate: 1s, priority: urgent }", "f.yaml:4:32: 'urgent' is not one of high, normal, low"),
        ("a: { simulate: 1s, join: any }", "f.yaml:4:22: a needs nothing, so there is nothing to join"),
        ("a: { simulate: 1s, on_error: { fallback: zz } }", "f.yaml:4:44: zz is not an agent here"),
        ("a: { simulate: 1s, system: hi }", "f.yaml:4:22: system means something only with prompt"),
        ("inputs: { simulate: 1s }", "f.yaml:4:3: inputs means something in expressions; choose another name"),
        ("a b: { simulate: 1s }", "f.yaml:4:3: 'a b' cannot name an agent"),
        ("a: { python: nothing }", "f.yaml:4:16: 'nothing' is not module:name"),
        ("a: { dispatch: inputs.x }", "f.yaml:4:8: a has nobody to choose"),
        ("a: { simulate: 1s, repeat: { max: 2 } }", "f.yaml:4:30: until is missing; add until:"),
        ("a: { command: ['${a b}'] }", "f.yaml:4:18: 'a b' is not an expression"),
        ("a: { command: ['${item}'] }", "f.yaml:4:18: there is no item here"),
    ],
)
def test_faults_of_one_agent(line: str, fault: str) -> None:
    found = faults(agents(line))
    assert any(one.startswith(fault) for one in found), found


def test_faults_between_agents() -> None:
    found = faults(
        agents("a: { simulate: 1s, needs: b }", "b: { simulate: 1s, needs: c }", "c: { simulate: 1s, needs: a }")
    )
    assert found == ["f.yaml:4:22: a cycle: a -> b -> c -> a; one of them must not need the next"]
    found = faults(agents("a: { simulate: 1s }", "b: { simulate: 1s }", "c: { command: [x, '${a}'], needs: b }"))
    assert found == ["f.yaml:6:21: a is not upstream of c; add a to its needs"]
    found = faults(agents("a: { simulate: 1s }", "b: { simulate: 1s, needs: a, join: { quorum: 5 } }"))
    assert found == ["f.yaml:5:48: a quorum of 5 of 1 can never be reached; b needs a"]


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    found = faults(agents("a: { comand: [x] }", "b: { simulate: 1 }", "c: { simulate: 1s, needs: zz }"))
    assert [one.split(":")[1] for one in found] == ["4", "4", "5", "6"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "f.yaml: the file is empty"),
        ("# nothing\n", "f.yaml: the file is empty"),
        ("- a\n- b\n", "f.yaml: a workflow is a map, not a list"),
        ("just text", "f.yaml: a workflow is a map, not text"),
        ("a: [1, 2\nb: 3", "f.yaml:2:2: not YAML: "),
        ("a: 'x", "not YAML: "),
        ("name: w\nagents: {a: {simulate: 1s}}\n", "f.yaml:1:1: agentdeck is missing"),
        ("agentdeck: 2\nname: w\nagents: {a: {simulate: 1s}}\n", "f.yaml:1:12: 2 is too large; the most is 1"),
        ("agentdeck: 1\nname: w\nagents: {}\n", "f.yaml:3:9: there is nothing in it"),
        ("agentdeck: 1\nname: w\nagents: [a]\n", "f.yaml:3:9: a map is needed here, not a list"),
        ("? [a]\n: 1\n", "a key must be a word"),
    ],
)
def test_files_that_are_no_workflow(text: str, fault: str) -> None:
    found = faults(text)
    assert any(fault in one for one in found), found


def test_a_yaml_bomb_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8)
    )
    assert "expand to more than" in faults(bomb)[0]
    deep = "agentdeck: " + "[" * 2000
    assert "f.yaml" in faults(deep)[0]
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(InvalidFile, match="50 MB is too large"):
        load(huge)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00x", b"\x00\x01"])
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bytes.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidFile, match=r"bytes\.yaml"):
        load(file)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path, word in [(tmp_path / "none.yaml", "no such file"), (tmp_path, "is a folder")]:
        with pytest.raises(InvalidFile, match=word):
            load(path)


def test_yaml_1_2_words_stay_words() -> None:
    found = loads(agents("a: { simulate: { returns: { on: no, n: 1:30, o: 010, f: 1e3 } } }"))
    does = found.definition.agents["a"].does
    assert does.returns == {"on": "no", "n": "1:30", "o": 10, "f": 1000.0}  # type: ignore[union-attr]


def test_sub_workflows_load_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(
        "agentdeck: 1\nname: inner\ninputs: { n: integer }\nagents:\n  a: { command: [echo, '${inputs.n}'] }\n"
    )
    outer = tmp_path / "outer.yaml"
    outer.write_text(agents("sub: { workflow: inner.yaml, with: { n: 1 } }"))
    assert load(outer).definition.agents["sub"].with_ == {"n": 1}
    outer.write_text(agents("sub: { workflow: inner.yaml, with: { m: 1 } }"))
    with pytest.raises(InvalidFile, match="inner has no input m"):
        load(outer)
    outer.write_text(agents("sub: { workflow: none.yaml }"))
    with pytest.raises(InvalidFile, match=r"none\.yaml: no such file"):
        load(outer)
    outer.write_text(agents("sub: { workflow: outer.yaml }"))
    with pytest.raises(InvalidFile, match=r"outer\.yaml -> outer\.yaml"):
        load(outer)


def test_warnings_for_what_is_legal_but_surely_wrong() -> None:
    inputs = "agentdeck: 1\nname: w\ninputs: { unused: string }\nagents:\n"
    assert [w.what for w in warnings(inputs + "  a: { simulate: 1s }\n")] == ["nothing reads the input unused"]
    told = warnings(agents("a: { simulate: 1s, on_error: { fallback: b } }", "b: { simulate: 1s }"))
    assert "also runs by itself" in told[0].what
    assert (
        "nobody falls back on it"
        in warnings(agents("a: { simulate: 1s }", "b: { simulate: 1s, spare: true }"))[0].what
    )


def test_defaults_are_laid_under_every_agent() -> None:
    text = agents("a: { simulate: 1s, timeout: { total: 9m } }", "b: { simulate: 1s, retry: 1 }").replace(
        "agents:", "defaults: { timeout: 5s, retry: { attempts: 7, delay: 2s }, priority: low }\nagents:"
    )
    found = loads(text).definition.agents
    assert found["a"].timeout == Timeout(attempt=5.0, total=540.0)
    assert found["b"].retry == Retry(1, delay=2.0)
    assert found["a"].priority == "low"
