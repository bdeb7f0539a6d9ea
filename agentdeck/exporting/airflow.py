"""`export airflow`: a DAG whose tasks are the agents of a workflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentdeck.errors import Issue
from agentdeck.exporting import losses
from agentdeck.exporting.joins import ALL_DONE, trigger_rule
from agentdeck.exporting.losses import Loss
from agentdeck.exporting.python_text import Code, Variables, call, comment, docstring, duration, literal
from agentdeck.exporting.task_ids import (
    ANSWER,
    DECISION,
    INPUTS,
    ITEM,
    NUMBERS,
    OUTPUT,
    QUESTION,
    RESULTS,
    form_of,
)
from agentdeck.exporting.task_policy import PRIORITIES, common, policy
from agentdeck.workflow.loader import Loaded, load
from agentdeck.workflow.model import Agent, Approve, Data, Definition, Dispatch, Input, SubWorkflow, Type

#: Names that the DAG uses itself.
TAKEN = (
    "DAG", "ExportedWorkflow", "HITLOperator", "Param", "Path", "PythonOperator", "START", "TaskGroup",
    "timedelta", "workflow", "dag", ANSWER, DECISION, INPUTS, ITEM, NUMBERS, OUTPUT, QUESTION, RESULTS,
)  # fmt: skip
#: JSON Schema of the types of inputs and of fields.
SCHEMAS = {
    "string": "string", "number": "number", "integer": "integer", "boolean": "boolean", "list": "array",
    "object": "object",
}  # fmt: skip
MAX_ID = 200
WHY_START = "Each task keeps the timeout of its agent. Airflow's is longer, for the process to start and to end."
STEP = 4  # the indent of a block


@dataclass(frozen=True, slots=True)
class ExportedDag:
    """The source of a DAG file, and what of the workflow is not in it, as warnings."""

    text: str
    lost: list[Issue]


def export_airflow(loaded: Loaded, file: str, source: str, *, beside: bool) -> ExportedDag:
    """The DAG of a workflow. `file` is its name in messages, `source` where the DAG looks for it: from its own
    folder where they are `beside` each other."""
    return _Writer(loaded, file).dag(source, beside)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The workflow that is being written, or a sub-workflow. `path` leads to its agents; `variables` are those of
    its tasks and groups, by agent."""

    loaded: Loaded
    file: str
    path: str
    indent: int
    variables: dict[str, str]

    @property
    def definition(self) -> Definition:
        return self.loaded.definition

    @property
    def pad(self) -> str:
        return " " * self.indent


class _Writer:
    def __init__(self, loaded: Loaded, file: str) -> None:
        self.loaded, self.file = loaded, file
        self.definition = loaded.definition
        self.dag_id = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.definition.name)[:MAX_ID]
        self.variables = Variables(TAKEN)
        self.lost: list[Issue] = []
        self.pools: dict[str, tuple[int, str]] = {}
        self.uses: set[str] = set()
        self.defaults = common(policy(self.definition, agent) for agent in self.definition.agents.values())

    def dag(self, source: str, beside: bool) -> ExportedDag:
        definition = self.definition
        lost = self.note(losses.of_workflow(definition), self.loaded, self.file)
        scope = _Scope(self.loaded, self.file, "", STEP, {})
        body = self.tasks(scope)
        where = f"Path(__file__).resolve().parent / {literal(source)}" if beside else f"Path({literal(source)})"
        parts = [
            docstring(self.header(lost)),
            self.imports(),
            comment([WHY_START]),
            f"START = {duration(30)}\n\n",
            f"workflow = ExportedWorkflow({where}, {literal(definition.identity[:16])})\n\n",
            f"with {call('DAG', self.arguments())} as dag:\n",
            body,
        ]
        return ExportedDag("".join(parts), self.lost)

    # The head of the file ----------------------------------------------------------------------------------

    def header(self, lost: list[str]) -> Iterator[str]:
        if self.definition.about:
            yield self.definition.about
        yield (
            f"The workflow {self.definition.name} as a DAG, made of {Path(self.file).name} by `agentdeck export "
            "airflow`. Each task runs one agent of that file, which has to be there, as agentdeck has to be "
            "installed beside Airflow. Tasks that share a store (AGENTDECK_DB) share the limits of its deck, and "
            "what `once` and `cache` record."
        )
        if self.pools:
            yield "Pools to create before the first run:"
            yield "\n".join(
                f"    airflow pools set {name} {slots} '{about}'" for name, (slots, about) in self.pools.items()
            )
        if self.lost:
            where = "marked with `Not as in agentdeck`" if len(self.lost) > len(lost) else "the following"
            yield f"What Airflow has no counterpart for is {where}."
        yield from lost

    def imports(self) -> str:
        sdk = [name for name in ("DAG", "Param", "TaskGroup") if name == "DAG" or name in self.uses]
        if self.definition.inputs:
            sdk = sorted({*sdk, "Param"})
        lines = ["", "from datetime import timedelta", "from pathlib import Path", ""]
        if "HITLOperator" in self.uses:
            lines.append("from airflow.providers.standard.operators.hitl import HITLOperator")
        lines += [
            "from airflow.providers.standard.operators.python import PythonOperator",
            f"from airflow.sdk import {', '.join(sdk)}",
            "",
            "from agentdeck.airflow.exported import ExportedWorkflow",
            "",
            "",
        ]
        return "\n".join(lines)

    def arguments(self) -> dict[str, Data]:
        """Those of the DAG."""
        definition = self.definition
        found: dict[str, Data] = {"dag_id": self.dag_id}
        if definition.about:
            found["description"] = definition.about
        found |= {"schedule": None, "tags": ["agentdeck"]}
        if definition.inputs:
            found["params"] = {name: _param(spec) for name, spec in definition.inputs.items()}
        if self.defaults:
            found["default_args"] = self.defaults
        if definition.mode == "sequential":
            found["max_active_tasks"] = 1
        elif definition.limits.workers is not None:
            found["max_active_tasks"] = definition.limits.workers
        return found

    # The tasks of a workflow -------------------------------------------------------------------------------

    def tasks(self, scope: _Scope) -> str:
        """The tasks of the agents of a workflow, that of its output, and what comes after what."""
        agents = [agent for agent in scope.definition.agents.values() if not agent.spare]
        for agent in agents:
            scope.variables[agent.name] = self.variables.of(agent.name)
        parts = [self.agent(scope, agent) for agent in agents]
        output: dict[str, Data] = {"task_id": OUTPUT, "python_callable": Code("workflow.output")}
        output |= {"op_args": [scope.path.rstrip("/")]} if scope.path else {}
        parts.append(self.operator(scope, OUTPUT, {**output, "trigger_rule": ALL_DONE}))
        return "\n".join([*parts, "".join(f"{scope.pad}{line}\n" for line in _edges(scope, agents))])

    def agent(self, scope: _Scope, agent: Agent) -> str:
        lost = self.note(losses.of_agent(scope.definition, agent), scope.loaded, scope.file)
        texts = [*_explained(agent), *lost]
        write = {
            "step": self.step, "each": self.each, "workflow": self.sub_workflow, "approval": self.approval,
        }[form_of(agent)]  # fmt: skip
        return comment(texts, scope.indent) + write(scope, agent)

    def step(self, scope: _Scope, agent: Agent) -> str:
        given = {"task_id": agent.name, **_runs("run", scope, agent), **_rule(scope, agent)}
        given |= self.conduct(scope, agent)
        if agent.about:
            given["doc_md"] = agent.about
        return self.operator(scope, scope.variables[agent.name], given)

    def each(self, scope: _Scope, agent: Agent) -> str:
        """A group: the numbers of the items, one task for each of them, and the list of their results."""
        inner = self.inside(scope)
        numbers = {"task_id": NUMBERS, **_runs("numbers", scope, agent), **_rule(scope, agent)}
        item: dict[str, Data] = {"task_id": ITEM, "python_callable": Code("workflow.run_item")}
        item |= {"op_kwargs": {"agent": scope.path + agent.name}, **self.conduct(scope, agent)}
        results = {"task_id": RESULTS, **_runs("results", scope, agent), "trigger_rule": ALL_DONE}
        mapped = call("PythonOperator.partial", item, inner.indent)
        return "".join(
            [
                self.group(scope, agent),
                self.operator(inner, NUMBERS, numbers),
                f"{inner.pad}{ITEM} = {mapped}.expand(op_args={NUMBERS}.output)\n",
                self.operator(inner, RESULTS, results),
                f"{inner.pad}[{NUMBERS}, {ITEM}] >> {RESULTS}\n",
            ]
        )

    def approval(self, scope: _Scope, agent: Agent) -> str:
        """A group of three tasks: the question, its answer in Airflow, and the result."""
        does, inner = agent.does, self.inside(scope)
        assert isinstance(does, Approve)
        self.uses.add("HITLOperator")
        asked = f"ti.xcom_pull(task_ids={f'{_group_id(scope)}{agent.name}.{QUESTION}'!r})"
        answer: dict[str, Data] = {
            "task_id": ANSWER,
            "subject": f"{{{{ {asked}['ask'] }}}}",
            "body": f"{{{{ {asked}['show'] }}}}",
            "options": ["Approve", "Reject"],
        }
        if does.fields:
            self.uses.add("Param")
            answer["params"] = {name: _field(does, name, kind) for name, kind in does.fields.items()}
        if does.within is not None:
            answer |= {"defaults": does.otherwise.capitalize(), "response_timeout": duration(does.within)}
        answer |= {"retries": 0, "execution_timeout": None}
        question = {"task_id": QUESTION, **_runs("question", scope, agent), **_rule(scope, agent)}
        decision = {"task_id": DECISION, **_runs("decision", scope, agent)}
        return "".join(
            [
                self.group(scope, agent),
                self.operator(inner, QUESTION, question),
                f"{inner.pad}{ANSWER} = {call('HITLOperator', answer, inner.indent)}\n",
                self.operator(inner, DECISION, decision),
                f"{inner.pad}{QUESTION} >> {ANSWER} >> {DECISION}\n",
            ]
        )

    def sub_workflow(self, scope: _Scope, agent: Agent) -> str:
        """A group: the inputs of the sub-workflow, its agents, and its output."""
        does = agent.does
        assert isinstance(does, SubWorkflow)
        folder = scope.definition.folder or Path(scope.file).resolve().parent
        shown = str(Path(scope.file).parent / does.file)
        loaded = load(folder / does.file, shown)
        inner = _Scope(loaded, shown, f"{scope.path}{agent.name}/", scope.indent + STEP, {})
        lost = self.note(losses.of_workflow(loaded.definition), loaded, shown)
        inputs = {"task_id": INPUTS, **_runs("inputs", scope, agent), **_rule(scope, agent)}
        return "".join(
            [
                self.group(scope, agent),
                comment(lost, inner.indent),
                self.operator(inner, INPUTS, inputs),
                "\n",
                self.tasks(inner),
            ]
        )

    def inside(self, scope: _Scope) -> _Scope:
        return _Scope(scope.loaded, scope.file, scope.path, scope.indent + STEP, scope.variables)

    def group(self, scope: _Scope, agent: Agent) -> str:
        self.uses.add("TaskGroup")
        given = {"group_id": agent.name} | ({"tooltip": agent.about} if agent.about else {})
        return f"{scope.pad}with {call('TaskGroup', given, scope.indent)} as {scope.variables[agent.name]}:\n"

    def operator(self, scope: _Scope, variable: str, given: Mapping[str, Data]) -> str:
        return f"{scope.pad}{variable} = {call('PythonOperator', given, scope.indent)}\n"

    def conduct(self, scope: _Scope, agent: Agent) -> dict[str, Data]:
        """The arguments of the task that executes an agent: retries, timeout, pool, how many at once."""
        own = policy(scope.definition, agent)
        found = {key: value for key, value in own.items() if value != self.defaults.get(key)}
        resource = losses.pool_of(scope.definition, agent)
        if resource is not None:
            limit = scope.definition.limits.resources[resource]
            pool = f"{self.dag_id}_{resource}"
            self.pools[pool] = int(limit), f"{resource} of the workflow {self.dag_id}"
            found |= {"pool": pool, "pool_slots": int(agent.uses[resource])}
        if agent.max_parallel is not None:
            found["max_active_tis_per_dag"] = agent.max_parallel
        if agent.priority in PRIORITIES:
            found["priority_weight"] = PRIORITIES[agent.priority]
        return found

    def note(self, found: Iterable[Loss], loaded: Loaded, file: str) -> list[str]:
        """Keep what is lost, and return it as texts for the file."""
        texts = []
        for loss in found:
            line, column = losses.line_of(loaded, loss.path)
            agent = f"{loss.path[1]}: " if loss.path[0] == "agents" else ""
            self.lost.append(Issue(file, line, column, f"{agent}{loss.what}", warning=True))
            where = f"{Path(file).name}:{line}" if line else Path(file).name
            texts.append(f"Not as in agentdeck ({where}): {loss.what}")
        return texts


def _runs(method: str, scope: _Scope, agent: Agent) -> dict[str, Data]:
    return {"python_callable": Code(f"workflow.{method}"), "op_args": [scope.path + agent.name]}


def _rule(scope: _Scope, agent: Agent) -> dict[str, Data]:
    rule = trigger_rule(scope.definition, agent)
    return {} if rule is None else {"trigger_rule": rule}


def _group_id(scope: _Scope) -> str:
    return scope.path.replace("/", ".")


def _explained(agent: Agent) -> Iterator[str]:
    """What a reader of the DAG does not see at the task."""
    if agent.when is not None:
        yield f"It is skipped unless {agent.when}"
    if agent.each is not None:
        yield f"One task for each item of {agent.each}"
    if isinstance(agent.does, Dispatch):
        cases = dict.fromkeys((*agent.does.cases.values(), *filter(None, [agent.does.otherwise])))
        yield f"It chooses one of {', '.join(cases)} by {agent.does.on}; the others are skipped."
    if agent.on_error.fallback is not None:
        yield f"Where it fails for good, {agent.on_error.fallback} does its work, in the same task."
    if agent.on_error.action == "continue":
        yield "Where it fails for good, what needs it goes on without it."


def _edges(scope: _Scope, agents: list[Agent]) -> Iterator[str]:
    """What comes after what, as statements."""
    definition, variables = scope.definition, scope.variables
    after: dict[tuple[str, ...], list[str]] = {}
    for agent in agents:
        after.setdefault(agent.needs, []).append(variables[agent.name])
    firsts = after.pop((), [])
    if scope.path:
        yield f"{INPUTS} >> {_listed(firsts)}"
    for needs, names in after.items():
        before = [variables[name] for name in needs]
        if len(before) == 1:
            yield f"{before[0]} >> {_listed(names)}"
        else:
            yield from (f"{_listed(before)} >> {name}" for name in names)
    yield f"{_listed(_last(definition, agents, variables))} >> {OUTPUT}"


def _last(definition: Definition, agents: list[Agent], variables: Mapping[str, str]) -> list[str]:
    """The tasks whose ends are the end of all. Where one may start, or fail, before all its needs have ended and
    others go on without it, these are all tasks."""
    rules = {trigger_rule(definition, agent) for agent in agents}
    needed = {name for agent in agents for name in agent.needs}
    if rules & {"one_success", ALL_DONE}:
        needed = set()
    return [variables[agent.name] for agent in agents if agent.name not in needed]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _param(spec: Input) -> Code:
    """An input as a parameter of the DAG, with its type as JSON Schema."""
    given: dict[str, Data] = {} if spec.required else {"default": spec.default}
    null = not spec.required and spec.default is None
    given |= _schema(spec.type, null)
    if spec.about:
        given["description"] = spec.about
    return Code(call("Param", given, 8))


def _field(does: Approve, name: str, kind: Type) -> Code:
    """A field of an approval. One without a default has None: before the task asks, Airflow already refuses a
    parameter without any."""
    default = does.defaults.get(name)
    return Code(call("Param", {"default": default, **_schema(kind, default is None)}, 16))


def _schema(kind: Type, null: bool) -> dict[str, Data]:
    if kind.kind == "choice":
        choices = [*kind.choices, *([None] if null and None not in kind.choices else [])]
        return {"enum": choices}
    if kind.kind == "any":
        return {}
    return {"type": [SCHEMAS[kind.kind], "null"] if null else SCHEMAS[kind.kind]}
