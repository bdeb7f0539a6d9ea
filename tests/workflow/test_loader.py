"""Files that load, and every fault with its place."""

from __future__ import annotations

import contextlib
import json
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.agents.http import Http
from agentdeck.agents.simulate import Simulate
from agentdeck.errors import InvalidFile, Issue, StoreError
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


def test_two_escapes_may_be_one_character_but_half_of_one_is_a_fault() -> None:
    text = agents("a: { simulate: {} }") + 'about: "%s"\n'
    assert loads(text % r"\ud83d\udc69 and \u00e9").definition.about == "👩 and é"
    assert faults(text % r"\ud83d") == [r"f.yaml:5:8: half of a character (\ud800 to \udfff); write it whole"]


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
    for damaged in ({}, {"name": 1}, {**plain(review), "agents": {"a": {"verb": "juggle"}}}):
        with pytest.raises(StoreError, match="cannot be read"):
            restored(damaged)
    assert loads(FULL.replace("min: 2", "min: 1")).definition.identity != review.identity


def test_keys_that_version_0_1_did_not_have_leave_identities_as_they_were() -> None:
    text = "agentdeck: 1\nname: same\nagents:\n  a: { command: [ls] }\n  b: { http: 'http://h/${a}' }\n"
    definition = loads(text).definition
    assert definition.identity == "8e0f9c1d44fba9afa3a82dc28ab31e436027b8e20a368c8c634f2d3761fefbc3"
    assert restored(plain(definition)) == definition
    other = loads(text.replace("[ls]", "{ args: [ls], ok: [0, 1] }")).definition
    assert other.identity != definition.identity
    assert restored(json.loads(json.dumps(plain(other)))) == other


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
        ("a: { comand: [ls], simulate: 1s }", "f.yaml:4:8: comand is not a key here; did you mean command?"),
        (
            "a: { simulate: 1s, gateway: true }",
            "f.yaml:4:22: gateway is for agents that call models by themselves: cli, command, python; remove it",
        ),
        ("a: { simulate: 1s, python: m:f }", "f.yaml:4:22: simulate and python: only one of them is allowed"),
        ("a: { needs: [] }", "f.yaml:4:3: it has no verb; give it one of approve, cli, command"),
        ("a: { simulate: 1s, needs: zz }", "f.yaml:4:29: a needs zz, which is not an agent here; there are a"),
        ("a: { simulate: 1s, timeout: 30 }", "f.yaml:4:31: 30 is not a duration; write 30s"),
        ("a: { simulate: 1s, timeout: soon }", "f.yaml:4:31: 'soon' is not a duration"),
        ("a: { simulate: { takes: 1s, fails: 5 } }", "f.yaml:4:38: 5 is not a share"),
        ("a: { simulate: 1s, retry: 0 }", "f.yaml:4:29: 0 is too small; the least is 1"),
        (
            "a: { simulate: 1s, retry: many }",
            "f.yaml:4:29: a number of attempts or a map is needed here, not text",
        ),
        ("a: { simulate: 1s, simulate: 2s }", "f.yaml:4:22: simulate is here twice, first in line 4"),
        ("a: { simulate: 1s, when: 'x(' }", "f.yaml:4:28: 'x(' is not an expression"),
        ("a: { simulate: 1s, when: zz.y }", "f.yaml:4:28: zz is neither an agent nor a known name"),
        ("a: { command: [echo, '${inputs.zz}'] }", "f.yaml:4:24: there is no input zz; add it to inputs: zz"),
        (
            "a: { command: ls -l }",
            'f.yaml:4:17: a list of arguments, like ["git", "log"], is needed here, not text',
        ),
        ("a: { simulate: 1s, priority: urgent }", "f.yaml:4:32: 'urgent' is not one of high, normal, low"),
        ("a: { simulate: 1s, join: any }", "f.yaml:4:22: a has no needs, so join has no effect"),
        ("a: { simulate: 1s, on_error: { fallback: zz } }", "f.yaml:4:44: zz is not an agent here"),
        ("a: { simulate: 1s, system: hi }", "f.yaml:4:22: system is only allowed with prompt"),
        ("inputs: { simulate: 1s }", "f.yaml:4:3: inputs has a meaning in expressions; choose another name"),
        ("a b: { simulate: 1s }", "f.yaml:4:3: 'a b' is not a valid name for an agent"),
        ("a: { python: nothing }", "f.yaml:4:16: 'nothing' is not module:name"),
        ("a: { dispatch: inputs.x }", "f.yaml:4:8: a has no cases"),
        ("a: { simulate: 1s, repeat: { max: 2 } }", "f.yaml:4:30: until is missing; add until:"),
        ("a: { command: ['${a b}'] }", "f.yaml:4:18: 'a b' is not an expression"),
        (
            "a: { http: '${inputs.zz}' }",
            "f.yaml:4:14: the host of this url comes from a value, but `hosts` is missing; add hosts: ",
        ),
        ("a: { http: { url: 'http://a${item}/' } }", "f.yaml:4:21: the host of this url comes from a value"),
        ("a: { http: '${inputs.zz}/x' }", "f.yaml:4:14: a url with values in it begins with http:// or https://"),
        (
            "a: { http: { url: 'http://a', hosts: ['http://a'] } }",
            "f.yaml:4:41: 'http://a' is not a host; write it",
        ),
        ("a: { command: { args: [ls], ok: [yes] } }", "f.yaml:4:36: a whole number is needed here, not text"),
        ("a: { command: { args: [ls], ok: [300] } }", "f.yaml:4:36: 300 is too large; the most is 255"),
        ("a: { command: ['${item}'] }", "f.yaml:4:18: item is not defined here"),
        ("a: { simulate: 1s, each: item.list }", "f.yaml:4:28: item is not defined here"),
        ("a: { simulate: 1s, when: output.ok }", "f.yaml:4:28: output is not defined here; output is defined"),
        ("a: { simulate: 1s, repeat: { until: a.ok } }", "f.yaml:4:39: a reads its own result; in `expect` and"),
        ("a: { simulate: 1s, when: needs.b }", "f.yaml:4:28: b is not one of the needs of a"),
        ("a: { simulate: 1s, when: status('b') == 'done' }", "f.yaml:4:28: b is neither an agent nor a known"),
        (
            "a: { command: ['${env.HOME}'] }",
            "f.yaml:4:18: env is neither an agent nor a known name; environment variables are",
        ),
        ("a: { simulate: { returns: .inf } }", "f.yaml:4:29: .inf is not a number in JSON"),
        ("a: { simulate: 1s, needs: a }", "f.yaml:4:29: a needs itself: a -> a; remove it"),
        ("not: { simulate: 1s }", "f.yaml:4:3: not has a meaning in expressions; choose another name"),
        ("__a__: { simulate: 1s }", "f.yaml:4:3: '__a__' is not a valid name for an agent"),
        ("a: { dispatch: inputs.x, cases: { k: zz } }", "f.yaml:4:40: zz is not an agent here; there are a"),
        ("a: { dispatch: { on: '1', cases: { k: zz } } }", "f.yaml:4:41: zz is not an agent here; there are a"),
        ("a: { dispatch: '1', otherwise: zz }", "f.yaml:4:34: zz is not an agent here; there are a"),
        ("a: { dispatch: '1', otherwise: a }", "f.yaml:4:8: a dispatches to itself; name another agent"),
        ("a: { workflow: [x] }", "f.yaml:4:18: text is needed here, not a list"),
        ("a: { approve: { ask: x, within: 4 } }", "f.yaml:4:35: 4 is not a duration; write 4s"),
        ("a: { approve: { ask: x, fields: 5 } }", "f.yaml:4:35: a map is needed here, not a number; write it as"),
        (
            "a: { prompt: x, approve: { ask: x } }",
            "f.yaml:4:19: prompt and approve: only one of them is allowed",
        ),
        ("a: { simulate: 1s, with: { x: [1, { y: '${(' }] } }", "f.yaml:4:42: `${` without its `}`"),
        ("a: { simulate: { tokens: [1] } }", "f.yaml:4:28: 1 values; 2 are needed"),
        ("a: { simulate: 1s, needs: [5] }", "f.yaml:4:30: text is needed here, not a number; quote it"),
        ("a: { simulate: 1s, spare: yes }", "f.yaml:4:29: true or false is needed here, not text"),
        ("a: { simulate: 1s, output: { x: strng } }", "f.yaml:4:35: 'strng' is not one of any, string, number"),
        ("a: { http: { method: GET } }", "f.yaml:4:14: url is missing; add url:"),
        ("a: { prompt: hi, max_output: -1 }", "f.yaml:4:32: -1 is not a size; write it like 4000, 400k or 2M"),
        ("a: { simulate: 1s, hedge: 95 }", "f.yaml:4:29: text is needed here, not a number; quote it"),
        ("a: { <<: 5, simulate: 1s }", "f.yaml:4:12: << merges a map; use an anchor of a map"),
        ("a: { <<: { retry: 1, retry: 2 }, simulate: 1s }", "f.yaml:4:24: retry is here twice, first in"),
    ],
)
def test_faults_of_one_agent(line: str, fault: str) -> None:
    found = faults(agents(line))
    assert any(one.startswith(fault) for one in found), found


def test_faults_between_agents() -> None:
    found = faults(
        agents("a: { simulate: 1s, needs: b }", "b: { simulate: 1s, needs: c }", "c: { simulate: 1s, needs: a }")
    )
    assert found == ["f.yaml:4:22: a cycle: a -> b -> c -> a; remove one of these needs"]
    found = faults(agents("a: { simulate: 1s }", "b: { simulate: 1s }", "c: { command: [x, '${a}'], needs: b }"))
    assert found == ["f.yaml:6:21: c does not depend on a; add a to its needs"]
    found = faults(agents("a: { simulate: 1s }", "b: { simulate: 1s, needs: a, when: zz.x }"))
    assert found[0].startswith("f.yaml:5:38: zz is neither an agent nor a known name")
    found = faults(agents("a: { dispatch: '1', cases: { k: b } }", "b: { simulate: 1s, needs: [] }"))
    assert found == ["f.yaml:5:22: a dispatches to b, but b does not need it; add a to its needs"]
    found = faults(agents("a: { simulate: 1s }", "b: { simulate: 1s, needs: a, join: { quorum: 0% } }"))
    assert found[0].startswith("f.yaml:5:48: a quorum of 0% waits for no need")
    found = faults(agents("a: { simulate: 1s }", "b: { simulate: 1s, needs: a, join: { quorum: 5 } }"))
    assert found == ["f.yaml:5:48: a quorum of 5 of 1 can never be reached; b needs a"]


def test_a_fault_hides_no_other_one() -> None:
    lines = (
        "a: { simulate: { takes: 5 }, needs: zz, when: yy.x }",
        "b: { command: [x, '${a.n}'], join: { quorm: 2 } }",
    )
    assert [
        one.split(":", 3)[1:] for one in faults(agents(*lines, "c d: { simulate: 1s }").replace("name: w\n", ""))
    ] == [
        ["1", "1", " name is missing; add name:"],
        ["3", "27", " 5 is not a duration; write 5s"],
        ["3", "39", " a needs zz, which is not an agent here; there are a, b"],
        [
            "3",
            "49",
            " yy is neither an agent nor a known name; there are a, b, inputs, item, needs, output, previous,"
            " run, task",
        ],
        ["4", "40", " quorm is not a key here; did you mean quorum?"],
        ["5", "3", " 'c d' is not a valid name for an agent; use letters, digits and _, a letter first"],
    ]


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    found = faults(agents("a: { comand: [x] }", "b: { simulate: 1 }", "c: { simulate: 1s, needs: zz }"))
    assert [one.split(":")[1] for one in found] == ["4", "4", "5", "6"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("inputs: { n: { type: [a, b], default: c } }", "f.yaml:5:39: the default of n is 'c', not one of a, b"),
        ("inputs: { n: { type: integer, default: x } }", "f.yaml:5:40: the default of n is 'x', not an integer"),
        ("inputs: { item: string }", "f.yaml:5:11: item has another meaning in Python agents"),
        ("inputs: { n: int }", "f.yaml:5:14: 'int' is not one of any, string, number, integer"),
        ("limits: { workers: 0 }", "f.yaml:5:20: 0 is too small; the least is 1"),
        ("limits: { openai: { requests: 50 } }", "f.yaml:5:31: 50 is not a rate; write it like 5/s"),
        (
            "limits: { openai: { requests: { rate: 5/s, burst: 9 } } }",
            "f.yaml:5:51: a burst of 9 does not fit 5/s",
        ),
        ("limits: { openai: { tokens: 5k/s burst 9 } }", "f.yaml:5:29: a burst is possible for requests and"),
        (
            "limits: { openai: { request: 5/s } }",
            "f.yaml:5:21: request is not a key here; did you mean requests?",
        ),
        ("budget: { usd: much }", "f.yaml:5:16: a number is needed here, not text"),
        ("budget: { ladder: { 170%: ask } }", "f.yaml:5:21: '170%' is more than 100%"),
        ("budget: { ladder: { 70%: redce } }", "f.yaml:5:26: 'redce' is not one of reduce, downgrade, drop, ask"),
        ("defaults: { tmeout: 5s }", "f.yaml:5:13: tmeout is not a key here; did you mean timeout?"),
        ("output: ${b.x}", "f.yaml:5:9: b is not an agent here; there are a"),
        ("output: ${inputs.n}", "f.yaml:5:9: there is no input n"),
        ("mode: fast", "f.yaml:5:7: 'fast' is not one of parallel, sequential, adaptive"),
        ("agnts: {}", "f.yaml:5:1: agnts is not a key here; did you mean agents?"),
    ],
)
def test_faults_of_the_whole_file(line: str, fault: str) -> None:
    found = faults(agents("a: { simulate: 1s }") + line + "\n")
    assert any(one.startswith(fault) for one in found), found


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
        ("agentdeck: 1\nname: w\nagents: {}\n", "f.yaml:3:9: it is empty"),
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
    assert faults("x-a: &a { <<: *a }\n") == ["f.yaml: an anchor contains itself"]
    deep = "agentdeck: " + "[" * 1000
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
    assert isinstance(does, Simulate)
    assert does.returns == {"on": "no", "n": "1:30", "o": 10, "f": 1000.0}


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
    outer.write_text(agents('sub: { workflow: "a\\0b" }'))
    with pytest.raises(InvalidFile, match=r"outer\.yaml:4:20: .* is not a valid file name"):
        load(outer)
    outer.write_text(agents("sub: { workflow: outer.yaml }"))
    with pytest.raises(InvalidFile, match=r"outer\.yaml -> outer\.yaml"):
        load(outer)


def test_warnings_for_what_is_legal_but_surely_wrong() -> None:
    inputs = "agentdeck: 1\nname: w\ninputs: { unused: string }\nagents:\n"
    assert [w.what for w in warnings(inputs + "  a: { simulate: 1s }\n")] == ["the input unused is never used"]
    told = warnings(agents("a: { simulate: 1s, on_error: { fallback: b } }", "b: { simulate: 1s }"))
    assert "also runs as a normal agent" in told[0].what
    assert (
        "is not the fallback of any agent"
        in warnings(agents("a: { simulate: 1s }", "b: { simulate: 1s, spare: true }"))[0].what
    )


@pytest.mark.parametrize(
    ("written", "clocks"),
    [
        ("", Timeout(attempt=300.0, idle=30.0)),
        (", timeout: 1m", Timeout(attempt=60.0)),
        (", timeout: { attempt: 1m, idle: 5s }", Timeout(attempt=60.0, idle=5.0)),
        (", timeout: { idle: 5s }", Timeout(attempt=300.0, idle=5.0)),
        (", timeout: { total: 1h }", Timeout(attempt=300.0, idle=30.0, total=3600.0)),
        (", timeout: auto", Timeout(attempt=300.0, idle=30.0, auto=True)),
    ],
)
def test_a_prompt_may_take_minutes_and_may_not_stall(written: str, clocks: Timeout) -> None:
    found = loads(agents(f"a: {{ prompt: Hello{written} }}", "b: { simulate: 1s }")).definition.agents
    assert found["a"].timeout == clocks
    assert found["b"].timeout == Timeout(attempt=30.0)


def test_defaults_are_laid_under_every_agent() -> None:
    text = agents("a: { simulate: 1s, timeout: { total: 9m } }", "b: { simulate: 1s, retry: 1 }").replace(
        "agents:", "defaults: { timeout: 5s, retry: { attempts: 7, delay: 2s }, priority: low }\nagents:"
    )
    found = loads(text).definition.agents
    assert found["a"].timeout == Timeout(attempt=5.0, total=540.0)
    assert found["b"].retry == Retry(1, delay=2.0)
    assert found["a"].priority == "low"


def test_sub_workflows_that_use_each_other_are_named_whole(tmp_path: Path) -> None:
    for name, below in [("a", "b"), ("b", "c"), ("c", "a")]:
        (tmp_path / f"{name}.yaml").write_text(agents(f"sub: {{ workflow: {below}.yaml }}"))
    with pytest.raises(InvalidFile) as caught:
        load(tmp_path / "a.yaml")
    last = caught.value.issues[-1]
    assert last.what == "a workflow contains itself: a.yaml -> b.yaml -> c.yaml -> a.yaml"
    assert (Path(last.file).name, last.line, last.column) == ("c.yaml", 4, 20)


def test_a_sub_workflow_used_by_many_is_read_once(tmp_path: Path) -> None:
    # Two uses in each of 40 files: 2^40 ways down.
    for i in range(40):
        uses = f"{{ workflow: s{i + 1}.yaml }}" if i < 39 else "{ simulate: 1s, previous: 1 }"
        (tmp_path / f"s{i}.yaml").write_text(agents(f"a: {uses}", f"b: {uses}"))
    with pytest.raises(InvalidFile) as caught:
        load(tmp_path / "s0.yaml")
    assert [i.what for i in caught.value.issues if "s39" in i.file] == ["previous is not a key here"] * 2


def test_agents_that_a_dispatch_may_choose_need_it(tmp_path: Path) -> None:
    text = agents(
        "r: { dispatch: '1', cases: { k: a }, otherwise: b }", "a: { simulate: 1s }", "b: { simulate: 1s }"
    )
    found = loads(text).definition.agents
    assert found["a"].needs == found["b"].needs == ("r",)
    same = text.replace("'1', cases: { k: a }, otherwise: b", "{ on: '1', cases: { k: a }, otherwise: b }")
    assert loads(same).definition.identity == loads(text).definition.identity


def test_needs_by_name_are_inferred_like_any_reference() -> None:
    lines = ("a: { simulate: 1s }", "class: { simulate: 1s }")
    found = loads(agents(*lines, "c: { command: [x, '${needs.a}', '${class.from}'] }")).definition
    assert found.agents["c"].needs == ("a", "class")
    found = loads(agents(*lines, "c: { simulate: 1s, when: status('a') == 'done' }")).definition
    assert found.agents["c"].needs == ("a",)


def test_keys_that_are_not_of_the_format_keep_their_x() -> None:
    line = "a: { x-mine: 1, http: { url: u, headers: { x-api-key: k }, x-mine: 2 }, with: { x-y: 1 } }"
    agent = loads(agents(line)).definition.agents["a"]
    assert isinstance(agent.does, Http)
    assert agent.does.headers == {"x-api-key": "k"}
    assert agent.with_ == {"x-y": 1}


def test_what_is_no_regular_file_is_read_no_further_than_it_may() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero")
    with pytest.raises(InvalidFile, match="too large"):
        load("/dev/zero")


@pytest.mark.untraced
def test_a_small_file_loads_at_once() -> None:
    text = agents(*(f"a{i}: {{ simulate: 1s, needs: {f'a{i - 1}' if i else '[]'} }}" for i in range(10)))
    loads(text)
    spent = []
    for _ in range(5):
        began = time.process_time()
        loads(text)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.03


@pytest.mark.untraced
def test_a_large_merge_takes_no_longer_than_its_size() -> None:
    many = "\n".join(f"  k{i}: {{ simulate: 1s }}" for i in range(2000))
    began = time.process_time()
    loads(f"x-a: &a\n{many}\nagentdeck: 1\nname: w\nagents:\n  <<: *a\n")
    assert time.process_time() - began < 5


def test_previous_without_repeat_is_surely_wrong() -> None:
    told = warnings(agents("a: { command: [x, '${previous}'] }"))
    assert [str(w) for w in told] == [
        "f.yaml:4:21: warning: previous is always null here; give it repeat or join: progressive"
    ]


def test_task_id_beside_an_input_named_id_is_a_warning() -> None:
    told = warnings(
        "agentdeck: 1\nname: w\ninputs: { id: string }\nagents:\n"
        "  pay: { once: 'pay-${task.id}', command: [pay, '${inputs.id}'] }\noutput: '${task.id}'\n"
    )
    fix = "task.id is the number of the task in its run, not the input id; write inputs.id for the input"
    assert [str(w)[:100] for w in told] == [
        f"f.yaml:5:16: warning: {fix}"[:100],
        f"f.yaml:6:9: warning: {fix}"[:100],
    ]
    text = agents("a: { command: [pay, '${task.id}', '${task.key}'] }")
    assert not [w for w in warnings(text) if "task.id" in w.what]


@pytest.mark.untraced
@given(
    st.integers(0, len(FULL)),
    st.integers(0, 30),
    st.sampled_from(["", ":", "- ", "{", "}", "&a ", "*a", "\t", "'", "\n", "${", "é", "!!x "]),
)
def test_any_text_is_a_workflow_or_has_faults(at: int, gone: int, instead: str) -> None:
    with contextlib.suppress(InvalidFile):
        loads(FULL[:at] + instead + FULL[at + gone :])
