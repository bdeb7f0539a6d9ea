"""Declarative flows become workflows. `RECORDED` is what CrewAI 1.15 itself gave for `EXPRESSIONS`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Workflow
from agentdeck.errors import InvalidFile
from agentdeck.importing.cel import CelError, template_parts, translate
from agentdeck.importing.crewai_flow import import_flow
from agentdeck.importing.imported import Expression
from agentdeck.importing.workflow_text import workflow_text
from agentdeck.workflow.expressions import Expression as Compiled

EXPRESSIONS = """
schema: crewai.flow/v1
name: Expr
state:
  type: json_schema
  json_schema:
    type: object
    properties: { n: { type: integer }, word: { type: string }, tags: { type: array } }
    required: [n]
  default: { word: hi, tags: [a, b] }
methods:
  begin:
    start: true
    do: { call: expression, expr: "state.n * 2 + 1" }
  also:
    start: true
    do: { call: expression, expr: "state.word + '!' + string(size(state.tags))" }
  route:
    listen: begin
    router: true
    emit: [big, small, none]
    do:
      call: expression
      expr: "outputs.begin > 10 ? 'big' : (outputs.begin > 4 && !(state.word == 'x') ? 'small' : 'none')"
  is_big:
    listen: big
    do: { call: expression, expr: "{'k': [outputs.begin, state.n], 'b': 'a' in state.tags}" }
  is_small: { listen: small, do: { call: expression, expr: "state.word.contains('h') || false" } }
  either:
    listen: { or: [is_big, is_small] }
    do: { call: expression, expr: "'either ' + string(outputs.begin)" }
  both: { listen: { and: [also, either] }, do: { call: expression, expr: "outputs.also + outputs.either" } }
"""
RECORDED: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
    ({"n": 1}, "none", {"begin": 3, "also": "hi!2", "route": "none"}),
    (
        {"n": 3},
        "hi!2either 7",
        {
            "begin": 7, "also": "hi!2", "route": "small", "is_small": True, "either": "either 7",
            "both": "hi!2either 7",
        },
    ),
    (
        {"n": 9},
        "hi!2either 19",
        {
            "begin": 19, "also": "hi!2", "route": "big", "is_big": {"k": [19, 9], "b": True},
            "either": "either 19", "both": "hi!2either 19",
        },
    ),
    ({"n": 3, "word": "x"}, "none", {"begin": 7, "also": "x!2", "route": "none"}),
    (
        {"n": 3, "word": "no", "tags": []},
        "no!0either 7",
        {
            "begin": 7, "also": "no!0", "route": "small", "is_small": False, "either": "either 7",
            "both": "no!0either 7",
        },
    ),
]  # fmt: skip
CREWS = """
schema: crewai.flow/v1
name: Leads
description: Scores a lead.
state: { type: dict, default: { lead: { name: Ada, staff: 12 } } }
methods:
  score:
    start: true
    do:
      call: crew
      with:
        agents:
          scorer: { role: "Analyst of {name}", goal: Score, backstory: Old, llm: openai/gpt-9 }
        tasks:
          - { name: look, agent: scorer, description: "Look at {name} ({staff}), {what}", expected_output: e }
          - name: rate
            agent: scorer
            description: Rate {name}
            expected_output: e
            output_pydantic:
              type: object
              properties: { score: { type: integer }, tier: { type: string, enum: [hot, cold] } }
        inputs: { name: nobody, what: all of it }
      inputs: { name: "${state.lead.name}", staff: "about ${state.lead.staff}" }
  choose:
    listen: score
    router: true
    emit: [mail, log]
    do:
      call: agent
      with: { role: R, goal: "Say {one}", backstory: B, input: "${outputs.score.pydantic.score}: mail or log?" }
  write:
    listen: mail
    description: Writes to the lead.
    do:
      call: agent
      with: { role: W, goal: G, backstory: B, input: "${state.lead.name}: ${outputs.score.json_dict.tier}" }
  note:
    listen: log
    do: { call: tool, ref: "flow_tools_of_imports:Note", with: { text: "No ${state.lead.name}", level: 1 } }
  each:
    listen: { or: [write, note] }
    do:
      call: each
      in: "['a', state.lead.name]"
      do: [{ name: one, action: { call: expression, expr: "item + '!'" } }]
"""


def imported(folder: Path, text: str, models: dict[str, str] | None = None) -> tuple[Workflow, list[str]]:
    """The workflow of a flow, and the warnings."""
    (folder / "flow.yaml").write_text(text, encoding="utf-8")
    workflow, findings = import_flow(str(folder / "flow.yaml"), models or {})
    (folder / "workflow.yaml").write_text(workflow_text(workflow), encoding="utf-8")
    return Workflow.from_file(folder / "workflow.yaml"), [str(issue) for issue in findings.sorted()]


def refused(folder: Path, text: str) -> str:
    with pytest.raises(InvalidFile) as raised:
        imported(folder, text)
    return str(raised.value)


@pytest.mark.parametrize(("given", "result", "outputs"), RECORDED)
def test_a_flow_gives_what_it_gives_in_crewai(
    given: dict[str, Any], result: Any, outputs: dict[str, Any], tmp_path: Path
) -> None:
    workflow, warnings = imported(tmp_path, EXPRESSIONS)
    ended = asyncio.run(workflow.run(given))
    assert {name: step.output for name, step in ended.steps.items() if step.state == "done"} == outputs
    assert (ended.output, warnings) == (result, [])


def test_crews_agents_tools_and_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    tools = "class Note:\n    def run(self, text, level):\n        return f'{level} {text}'\n"
    (tmp_path / "flow_tools_of_imports.py").write_text(tools, encoding="utf-8")
    workflow, warnings = imported(tmp_path, CREWS)
    text = (tmp_path / "workflow.yaml").read_text(encoding="utf-8")
    assert ["llm of the agent scorer is not carried over: openai/gpt-9" in one for one in warnings] == [True]
    assert (
        "Current Task: Look at ${inputs.lead.name} (${'about ' + str(inputs.lead.staff)}), ${'all of it'}\n"
        in text
    )
    assert "Say {one}" in text  # the texts of a single agent have no placeholders
    assert "output: {score: integer, tier: [hot, cold]}" in text
    assert 'prompt: "${score.score}: mail or log?"\n    output: {event: [mail, log]}' in text
    ended = asyncio.run(workflow.run({}))
    states = {name: step.state for name, step in ended.steps.items()}
    assert list(states) == ["score_look", "score", "choose", "write", "note", "each"]
    assert sorted([states["write"], states["note"]]) == ["done", "skipped"]
    assert ended.output == ["a!", "Ada!"]
    if states["note"] == "done":
        assert ended.steps["note"].output == "1 No Ada"


def test_a_model_of_the_deck_is_used(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(CREWS, encoding="utf-8")
    workflow, findings = import_flow(str(tmp_path / "flow.yaml"), {"gpt-9": "big"})
    assert [keys["model"] for keys in workflow.shared.values()] == ["big"]
    assert findings.issues == []


START = (
    "schema: crewai.flow/v1\nname: f\nmethods:\n  a: { start: true, do: { call: expression, expr: state.x } }\n"
)
ROUTER = "  r: { listen: a, router: true, emit: [y, n], do: { call: expression, expr: \"'y'\" } }\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: f\n", "this is no flow"),
        ("schema: crewai.flow/v2\nmethods: {}\n", "this is no flow"),
        ("- a\n", "this is no flow"),
        ("schema: crewai.flow/v1\nmethods: {}\n", "the flow has no methods"),
        (START + "  b: 5\n", "flow.yaml:5:6: b is not a map"),
        (START + "  b: { listen: a }\n", "b has no action"),
        (START + "  b: { listen: a, do: { call: expresion, expr: x } }\n", "did you mean expression?"),
        (
            START + "  b: { listen: c, DO }\n",
            "neither a method nor an event of a router",
        ),
        (START + "  b: { listen: b, DO }\n", "b listens to itself"),
        (START + "  b: { DO }\n", "nothing starts b"),
        (
            START + "  b: { listen: { xor: [a] }, DO }\n",
            "a name, {and: […]} or {or: […]}",
        ),
        (
            START + "  b: { listen: c, DO }\n  c: { listen: b, DO }\n",
            "a cycle: ",
        ),
        (
            START + "  b: { listen: a, do: { call: script, code: return 1 } }\n",
            "it is Python code, which may change the state",
        ),
        (START + "  b: { listen: a, do: { call: code, ref: 'm:f' } }\n", "its function gets the flow itself"),
        (
            START + "  b: { listen: a, router: true, DO }\n",
            "does not say what it emits",
        ),
        (
            START + "  b: { listen: a, DO, human_feedback: { message: ok? } }\n",
            "asks for feedback",
        ),
        (START + "  b: { listen: a, do: { call: expression, expr: '1 / 2' } }\n", "/ 2 is not translated"),
        (
            START + "  b: { listen: a, do: { call: expression, expr: outputs.c } }\n",
            "it reads the output of c, which is not a method",
        ),
        (
            START + "  b: { start: true, do: { call: expression, expr: outputs.a } }\n",
            "which has not run by then",
        ),
        (
            START + "  b: { listen: a, do: { call: expression, expr: 'state.l.map(x, x)' } }\n",
            "x is not known here",
        ),
        (START + "  b: { listen: a, do: { call: expression, expr: '' } }\n", "an expression of b is missing"),
        (
            START + "  b: { listen: a, do: { call: tool, ref: gmail/send } }\n",
            "gmail/send is an app of CrewAI's platform",
        ),
        (
            START + "  b: { listen: a, do: { call: crew, from_declaration: crew.jsonc } }\n",
            "the crew of b is in another file",
        ),
        (
            START + "  b: { listen: a, do: { call: crew, with: { agents: {} } } }\n",
            "the crew of b has no tasks, or no agents",
        ),
        (START + "  b: { listen: a, do: { call: agent, with: { role: r, input: x } } }\n", "has no goal"),
        (
            START + "  b: { listen: a, do: { call: each, in: state.x, do: [] } }\n",
            "runs several steps, or steps with conditions",
        ),
        (
            START + ROUTER + "  b: { listen: { or: [a, y] }, DO }\n",
            "the first counts, by time",
        ),
        (
            START + ROUTER + "  y: { listen: a, DO }\n  c: { listen: y, DO }\n",
            "y is a method and an event of r",
        ),
    ],
)
def test_flows_that_are_not_imported(text: str, said: str, tmp_path: Path) -> None:
    shown = refused(tmp_path, text.replace("DO", "do: { call: expression, expr: '1' }"))
    assert said in shown
    assert "flow.yaml" in shown


def test_faults_of_a_crew_in_a_flow(tmp_path: Path) -> None:
    for old, new, said in (
        (
            "agent: scorer, desc",
            "agent: scorr, desc",
            "the task look has the agent scorr, which the crew does not have",
        ),
        ("{staff})", "{stuff})", "the crew of score has no input stuff; did you mean staff?"),
        (
            "inputs: { name: nobody",
            "process: hierarchical\n        inputs: { name: nobody",
            "a manager decides in the run",
        ),
        ("name: rate", "name: look", "two tasks of score have the same name"),
        (
            "Rate {name}\n",
            "Rate {name}\n            context: [lok]\n",
            "rate has the context lok, which is not a task",
        ),
        ("outputs.score.pydantic.score", "outputs.score", "write outputs.score.raw"),
        ("outputs.score.pydantic.score", "outputs.score.tasks_output", "is known only to code"),
    ):
        assert said in refused(tmp_path, CREWS.replace(old, new))


def test_what_a_flow_loses_is_named(tmp_path: Path) -> None:
    text = START + "persist: { enabled: true }\n"
    _, warnings = imported(tmp_path, text)
    assert [one.partition(": warning: ")[2] for one in warnings] == ["persist of the flow is not carried over"]


@pytest.mark.parametrize(
    ("cel", "ours"),
    [
        ("state.a", "inputs.a"),
        ("${state.a.b[0].c}", "inputs.a.b[0].c"),
        ("!state.a == false", "(not inputs.a) == false"),
        ("a.x ? 1 : b.y ? 2 : 3", "1 if a.x else 2 if b.y else 3"),
        ("(a.x ? 1 : 2) + -1", "(1 if a.x else 2) + -1"),
        ("has(state.a) && size(state.a) >= 2", "(inputs.a != null) and len(inputs.a) >= 2"),
        ("state.a.size() in [1, 2]", "len(inputs.a) in [1, 2]"),
        ("'it\\'s ${x}' + \"&& ||\"", "'it\\x27s ${x}' + '&& ||'"),
    ],
)
def test_cel_is_translated(cel: str, ours: str) -> None:
    def resolve(names: Any) -> str:
        return ".".join("inputs" if name == "state" else name for name in names)

    found = translate(cel, resolve)
    assert found == ours
    Compiled(found)


@pytest.mark.parametrize(
    "cel",
    ["", "1 +", "a b", "a < b < c", "f(1)", "a.map(x, x)", "(" * 80, "a ? b", "[1", "{1: }", "a.", "%", "'x"],
)
def test_cel_that_is_not_translated(cel: str) -> None:
    with pytest.raises(CelError):
        translate(cel, ".".join)


def test_texts_with_cel() -> None:
    parts = template_parts("a ${x.y['}']} b ${z}", ".".join)
    assert parts == ["a ", Expression("x.y['}']"), " b ", Expression("z"), ""]
    with pytest.raises(CelError):
        template_parts("a ${x", ".".join)
