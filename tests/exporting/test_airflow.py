"""DAGs of workflows: the same text each time, valid Python, and data of the workflow nowhere as code."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest

from agentdeck.errors import InvalidFile
from agentdeck.exporting.airflow import TAKEN, ExportedDag, export_airflow
from agentdeck.workflow.loader import load, loads

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "exporting"
FEATURES = DATA / "features.yaml"
#: With UPDATE_GOLDEN=1 in the environment they are written anew.
GOLDEN = {
    "order": ROOT / "workflows" / "order.yaml",
    "code_review": ROOT / "workflows" / "code_review.yaml",
    "documents": ROOT / "workflows" / "documents.yaml",
    "features": FEATURES,
}


def examples() -> list[Path]:
    """The workflows of the repository that load: others need a plugin, or are decks."""
    found = []
    for file in sorted([*ROOT.glob("workflows/**/*.yaml"), *ROOT.glob("examples/**/*.yaml")]):
        try:
            load(file)
        except InvalidFile:
            continue
        found.append(file)
    return found


EXAMPLES = examples()


def exported(file: Path) -> ExportedDag:
    return export_airflow(load(file), file.name, file.name, beside=True)


def export(text: str) -> ExportedDag:
    text = text if text.startswith("{") else f"agentdeck: 1\n{text}"
    return export_airflow(loads(text, "flow.yaml"), "flow.yaml", "flow.yaml", beside=True)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_dag_is_the_one_that_was_looked_at(name: str) -> None:
    golden = DATA / f"{name}.txt"
    text = exported(GOLDEN[name]).text
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("file", [*EXAMPLES, FEATURES], ids=lambda file: file.name)
def test_every_example_becomes_python_the_same_each_time(file: Path) -> None:
    dag = exported(file)
    assert dag.text == exported(file).text
    for line in ast.walk(compile(dag.text, file.name, "exec", ast.PyCF_ONLY_AST)):
        if isinstance(line, ast.Call):  # nothing is called but what a DAG consists of
            assert re.split(r"\W", ast.unparse(line.func))[0] in TAKEN
    compile(dag.text, file.name, "exec")
    agents = [name for name, agent in load(file).definition.agents.items() if not agent.spare]
    assert all(f'"{name}"' in dag.text for name in agents)


HOSTILE = '""" \'\\n    import os; os.system("x")  # {{ ti }} \u202e'


def test_what_a_workflow_says_is_data() -> None:
    agents = {
        "class": {"simulate": "0s", "about": HOSTILE},
        "DAG": {"needs": "class", "when": "class != 'x\\nimport os'", "simulate": "0s"},
        "workflow": {"needs": "DAG", "each": "['\\n', 'import os']", "simulate": "0s"},
        "results": {"needs": "workflow", "approve": {"ask": HOSTILE, "fields": {"b": [HOSTILE, "c"]}}},
    }
    inputs = {"a": {"type": "string", "about": HOSTILE, "default": HOSTILE}, "choice": [HOSTILE, "b"]}
    flow = {"name": HOSTILE, "about": HOSTILE, "inputs": inputs, "agents": agents}
    dag = export(json.dumps(flow).removeprefix("{").removesuffix("}").join(["{ agentdeck: 1, ", "}"]))
    tree = ast.parse(dag.text)
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported == [
        "datetime", "pathlib", "airflow.providers.standard.operators.hitl",
        "airflow.providers.standard.operators.python", "airflow.sdk", "agentdeck.airflow.exported",
    ]  # fmt: skip
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names == {*TAKEN, "__file__", "class_", "DAG_", "workflow_", "results_"} - {"inputs"}
    assert all(line.isprintable() for line in dag.text.split("\n"))
    templates = [line for line in dag.text.splitlines() if "subject=" in line or "body=" in line]
    assert [line.count("ti.xcom_pull(task_ids='results.question')") for line in templates] == [1, 1]


def test_inputs_are_parameters_with_their_schema() -> None:
    text = export(
        """
name: inputs
inputs:
  id: string
  many: { type: list, default: [1] }
  some: { type: object, default: null }
  any: { default: 2.5 }
  way: { type: [slow, fast], default: null }
agents: { a: { simulate: 0s } }
"""
    ).text
    for line in (
        '"id": Param(type="string"),',
        '"many": Param(default=[1], type="array"),',
        '"some": Param(default=None, type=["object", "null"]),',
        '"any": Param(default=2.5),',
        '"way": Param(default=None, enum=["slow", "fast", None]),',
    ):
        assert line in text


RULES = """
name: rules
agents:
  a: { simulate: 0s }
  b: { simulate: 0s, when: a }
  c: { simulate: 0s, needs: a, on_error: continue }
  strict:  { needs: [a], simulate: 0s }
  lenient: { needs: [a, b], simulate: 0s }
  absent:  { needs: b, simulate: 0s }
  below:   { needs: [absent, a], simulate: 0s }
  either:  { needs: [a, b], join: any, simulate: 0s }
  without: { needs: [a, c], simulate: 0s }
  most:    { needs: [a, b], join: { quorum: 1 }, simulate: 0s }
  soon:    { needs: [a, b], join: { within: 5s, rest: cancel }, simulate: 0s }
"""


def test_each_field_of_an_approval_has_a_default() -> None:
    """Airflow refuses a task with a parameter that has none before the task can ask for it."""
    text = export("name: a\nagents: { ask: { approve: { ask: hi, fields: { why: string, n: [1, 2] } } } }").text
    assert '"why": Param(default=None, type=["string", "null"])' in text
    assert '"n": Param(default=None, enum=[1, 2, None])' in text


def test_joins_are_trigger_rules() -> None:
    tree = ast.parse(export(RULES).text)
    rules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)}
            if "task_id" in given:
                rules[given["task_id"]] = given.get("trigger_rule")
    assert rules == {
        "a": None, "b": None, "c": None, "strict": None, "lenient": "none_failed_min_one_success",
        "absent": "none_failed_min_one_success", "below": "none_failed_min_one_success", "either": "one_success",
        "without": "all_done", "most": "all_done", "soon": "all_done", "output": "all_done",
    }  # fmt: skip


LOSSES = """name: losses
mode: adaptive
budget: { usd: 1 }
limits: { gpu: 2, disk: 3, simulated: { requests: 5/min } }
agents:
  a: { prompt: hi, retry: { escalate: true }, hedge: p95, timeout: { queue: 1s, total: 9s } }
  b: { simulate: 0s }
  c:
    needs: [a, b]
    join: { quorum: 1, within: 3s, rest: cancel }
    uses: { gpu: 2, disk: 1.5 }
    timeout: auto
    simulate: 0s
  d: { needs: [a, b], join: progressive, simulate: 0s, uses: { gpu: 1, disk: 2 } }
  e: { once: "e-${run.id}", needs: a, repeat: { until: output }, simulate: 0s }
  f: { workflow: pack.yaml, with: { goods: [] }, cache: 1d }
"""


def test_what_has_no_counterpart_is_named_with_its_line_and_at_its_place() -> None:
    loaded = loads(f"agentdeck: 1\n{LOSSES}", "flow.yaml", DATA)
    dag = export_airflow(loaded, "flow.yaml", "flow.yaml", beside=True)
    said = [f"{issue.line} {issue.what.partition(';')[0]}" for issue in dag.lost]
    assert said == [
        "4 budget: no task knows what the others have used, so nothing stops at it",
        "5 limits of simulated: they hold within each task, not over all of them",
        "3 mode: adaptive: independent steps always run side by side",
        "7 a: retry: escalate: each try asks the same tier",
        "7 a: timeout: queue: a task waits for its slot as long as it takes",
        "7 a: timeout: total: only each try has a limit",
        "7 a: hedge: a late call gets no second one beside it",
        "11 c: join: quorum: it starts when all needs have ended, and then decides as agentdeck does",
        "11 c: join: within: there is no deadline",
        "11 c: join: rest: cancel: needs that are not awaited any more run to their end",
        "13 c: timeout: auto: the limit of each try is fixed",
        "12 c: uses: disk: 1.5 of it",
        "15 d: join: progressive: it starts when all needs have ended, and then decides as agentdeck does",
        "15 d: uses: gpu: a task is in one pool, and this one is in that of disk",
        "16 e: repeat: a retry begins with the first round again",
        "16 e: run.id: each try of a task is a run of its own, so it is another one each time",
        "17 f: workflow: its steps run inside of one task, and are retried there",
    ]
    assert all(issue.warning for issue in dag.lost)
    text = re.sub(r"\s+(# )?", " ", dag.text)
    for issue in dag.lost:
        assert f"Not as in agentdeck (flow.yaml:{issue.line}): {re.sub('^[a-f]: ', '', issue.what)}" in text
    assert "airflow pools set losses_disk 3" in dag.text
    assert 'pool="losses_disk",\n        pool_slots=2,' in dag.text


def test_retries_timeouts_and_limits() -> None:
    text = export(
        """
name: policies
mode: sequential
defaults: { retry: { attempts: 4, delay: 2s, factor: 3, max_delay: 1m }, timeout: 10s }
agents:
  a: { simulate: 0s }
  b: { simulate: 0s, priority: high, max_parallel: 3 }
  c: { simulate: 0s, retry: 1, timeout: 2m, on_error: { fallback: d } }
  d: { simulate: 0s, spare: true }
"""
    ).text
    assert (
        """    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=2),
        "retry_exponential_backoff": 3,
        "max_retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(seconds=10) + START,
    },
    max_active_tasks=1,
"""
        in text
    )
    assert "max_active_tis_per_dag=3,\n        priority_weight=100," in text
    # 120 s, and four times 10 s with 2, 6 and 18 s between them
    assert "retries=0,\n        execution_timeout=timedelta(seconds=186) + START," in text
    assert 'task_id="d"' not in text
