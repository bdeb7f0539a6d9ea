"""`import flow`: a declarative flow of CrewAI (`crewai.flow/v1`) as a workflow.

A method runs when the method or the event that it listens to has come. A router's result is such an event. As in
CrewAI 1.15, the state of a flow is its input (only code changes it, and such methods are refused), `and` waits
for all, and of `or` the first counts and the others are cancelled, so only alternatives that exclude each other
are imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentdeck.importing import crew_prompts
from agentdeck.importing.cel import CelError, template_parts, translate
from agentdeck.importing.crew import Crew, CrewTask, check_order
from agentdeck.importing.crew_code import Part, Setting
from agentdeck.importing.crew_workflow import check_faithful, crew_agents
from agentdeck.importing.imported import (
    Expression,
    Findings,
    ImportedAgent,
    ImportedWorkflow,
    Names,
    Place,
    quoted,
    template,
)
from agentdeck.importing.state_graph import Choice, GraphPath
from agentdeck.workflow import graph as graphs
from agentdeck.workflow.model import KNOWN_PARAMETERS, Data
from agentdeck.workflow.wording import did_you_mean, likely_fix
from agentdeck.workflow.yaml_source import Path_, Source, as_map, read_file, refusal

SCHEMA = "crewai.flow/v1"
VALUE = "agentdeck.importing.flow_step:value"
TOOL = "agentdeck.importing.flow_step:tool"
WHOLE = "run the flow as one agent: python: module:function, where the function returns it"
TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "object",
}
#: Actions that are not imported, each with the reason.
REFUSED = {
    "script": "it is Python code, which may change the state of the flow",
    "code": "its function gets the flow itself, and may change its state",
}


@dataclass(slots=True)
class Method:
    """A method of a flow. `structured` are the fields of its result, where it has some."""

    name: str
    data: dict[str, Any]
    path: Path_
    sources: list[str] = field(default_factory=list)
    paths: list[GraphPath] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    structured: dict[str, Data] = field(default_factory=dict)

    @property
    def call(self) -> str:
        found = as_map(self.data.get("do")).get("call")
        return found if isinstance(found, str) else ""


def import_flow(file: str, models: Mapping[str, str]) -> tuple[ImportedWorkflow, Findings]:
    """The workflow of a flow file. `models` are the names of the deck's models, by their ids. Raises
    InvalidFile."""
    source = read_file(Path(file))
    if (
        not isinstance(source.data, dict)
        or source.data.get("schema", SCHEMA) != SCHEMA
        or "methods" not in source.data
    ):
        raise refusal(file, f"this is no flow: it has no schema: {SCHEMA} and no methods")
    findings = Findings()
    findings.add(source.issues)
    findings.raise_faults()
    return _Flow(source, source.data, findings, models).workflow(), findings


class _Flow:
    """The import of one file."""

    def __init__(
        self, source: Source, data: dict[str, Any], findings: Findings, models: Mapping[str, str]
    ) -> None:
        from agentdeck.workflow.workflow_file import RESERVED_NAMES

        self.source, self.data, self.findings, self.models = source, data, findings, models
        self.names, self.inputs = Names(RESERVED_NAMES), Names(KNOWN_PARAMETERS)
        self.found = ImportedWorkflow(str(data.get("name") or "flow"))
        self.methods: dict[str, Method] = {}
        self.fields: dict[str, Data] = {}

    def place(self, path: Path_) -> Place:
        return Place(self.source.file, *self.source.place(path))

    def fault(self, path: Path_, what: str, fix: str = "") -> None:
        self.findings.fault(self.place(path), what, fix)

    def workflow(self) -> ImportedWorkflow:
        self.read_state()
        self.read_methods()
        self.findings.raise_faults()
        self.link()
        self.findings.raise_faults()
        self.found.about = str(self.data.get("description") or "").strip()
        self.found.notes = [f"The CrewAI flow {self.found.name}, imported from {self.source.file}.", ""]
        self.found.notes += [
            "Its state is the input of the workflow. A method listens to the results of others: needs,"
        ]
        self.found.notes += ["and when, where a router chooses."]
        for key in self.data.keys() - {"schema", "name", "description", "state", "methods", "config"}:
            if self.data[key] not in (None, False, {}, []):
                self.findings.warn(self.place((key,)), f"{key} of the flow is not carried over")
        order = graphs.order({name: method.sources for name, method in self.methods.items()})
        for name in order:
            self.add(self.methods[name])
        self.findings.raise_faults()
        self.found.output = self.output()
        return self.found

    # State and methods -------------------------------------------------------------------------------------

    def read_state(self) -> None:
        """The fields of the state become inputs."""
        state = as_map(self.data.get("state"))
        schema = as_map(state.get("json_schema"))
        defaults = as_map(state.get("default"))
        required = schema.get("required")
        for name, spec in as_map(schema.get("properties")).items():
            kind = TYPES.get(str(as_map(spec).get("type")), "any")
            self.fields[name] = kind if name in (required or ()) else {"type": kind, "default": None}
        for name, value in defaults.items():
            spec = self.fields.get(name, "any")
            self.fields[name] = {"type": spec["type"] if isinstance(spec, dict) else spec, "default": value}
        for name, spec in self.fields.items():
            self.found.inputs[self.inputs.of(name)] = spec

    def read_methods(self) -> None:
        given = self.data.get("methods")
        if not isinstance(given, dict) or not given:
            self.fault(("methods",), "the flow has no methods", "methods is a map of names")
            return
        for name, data in given.items():
            path: Path_ = ("methods", name)
            if not isinstance(data, dict):
                self.fault(path, f"{name} is not a map", "write start: or listen:, and do:")
                continue
            method = self.methods[name] = Method(name, data, path)
            self.names.of(name)
            if not isinstance(data.get("do"), dict):
                self.fault(path, f"{name} has no action", "write do: with call:")
            elif method.call in REFUSED:
                self.fault((*path, "do"), f"{name} is a {method.call}: {REFUSED[method.call]}", WHOLE)
            elif method.call not in ("expression", "agent", "crew", "tool", "each"):
                known = ("expression", "agent", "crew", "tool", "each", *REFUSED)
                what = f"{name} calls {method.call or 'nothing'}, which is not known"
                self.fault((*path, "do"), what, did_you_mean(method.call, known, f"there are {', '.join(known)}"))
            if data.get("human_feedback") is not None:
                what = f"{name} asks for feedback, from whose text a model chooses the outcome (human_feedback)"
                self.fault((*path, "human_feedback"), what, "write an agent with approve: in the workflow")
            emit = data.get("emit")
            if data.get("router"):
                if not isinstance(emit, list) or not emit or not all(isinstance(one, str) for one in emit):
                    self.fault(path, f"the router {name} does not say what it emits", "add emit: [event, event]")
                else:
                    method.events = emit

    # Which method runs after which -------------------------------------------------------------------------

    def link(self) -> None:
        """The sources of each method, and the ways to reach it."""
        for method in self.methods.values():
            condition = self.condition_of(method)
            if condition is None:
                if not method.data.get("start"):
                    self.fault(method.path, f"nothing starts {method.name}", "add start: true, or listen:")
                continue
            method.sources = list(dict.fromkeys(self.sources(method, condition)))
        self.findings.raise_faults()
        needs = {name: tuple(method.sources) for name, method in self.methods.items()}
        loop = graphs.cycle(needs)
        if loop is not None:
            shown = " -> ".join(reversed(loop))
            self.fault(self.methods[loop[0]].path, f"a cycle: {shown}; its end is decided in the run", WHOLE)
            return
        for name in graphs.order(needs):
            method = self.methods[name]
            condition = self.condition_of(method)
            start = [GraphPath(0, frozenset())]
            method.paths = start if condition is None else self.paths(method, condition)

    def condition_of(self, method: Method) -> Any:
        """What a method listens to; None where it starts by itself."""
        start = method.data.get("start")
        if start is True or (isinstance(start, str) and start.lower() == "true"):
            return None
        return method.data.get("listen") if method.data.get("listen") is not None else start or None

    def sources(self, method: Method, condition: Any) -> list[str]:
        """The methods on which a condition depends. Unknown names are faults."""
        path: Path_ = (*method.path, "listen" if "listen" in method.data else "start")
        if isinstance(condition, str):
            routers = [one.name for one in self.methods.values() if condition in one.events]
            if condition in self.methods and routers:
                self.fault(path, f"{condition} is a method and an event of {routers[0]}", "give one another name")
            if condition == method.name:
                self.fault(path, f"{method.name} listens to itself", "listen to another method")
            elif condition in self.methods:
                return [condition]
            elif not routers:
                events = [event for one in self.methods.values() for event in one.events]
                what = f"{method.name} listens to {condition}, which is neither a method nor an event of a router"
                self.fault(path, what, likely_fix(condition, [*self.methods, *events]))
            return routers
        parts = as_map(condition)
        inner = parts.get("and", parts.get("or"))
        if len(parts) != 1 or not isinstance(inner, list) or not inner:
            self.fault(path, "a name, {and: […]} or {or: […]} is needed here")
            return []
        return [source for one in inner for source in self.sources(method, one)]

    def paths(self, method: Method, condition: Any) -> list[GraphPath]:
        """The ways in which a condition comes true. Alternatives that could both come true are a fault."""
        if isinstance(condition, str):
            if condition in self.methods:
                return self.methods[condition].paths
            routers = [one for one in self.methods.values() if condition in one.events]
            ways = [
                GraphPath(0, path.choices | {Choice(router.name, condition)})
                for router in routers
                for path in router.paths
            ]
            groups = [ways] if len(routers) < 2 else [[way] for way in ways]
            return self.alternatives(method, groups)
        if "and" in condition:
            found = [GraphPath(0, frozenset())]
            for one in condition["and"]:
                both = [mine.with_choice(other) for mine in found for other in self.paths(method, one)]
                found = list(dict.fromkeys(way for way in both if way is not None))[:64]
            return found
        return self.alternatives(method, [self.paths(method, one) for one in condition["or"]])

    def alternatives(self, method: Method, groups: Sequence[list[GraphPath]]) -> list[GraphPath]:
        for number, group in enumerate(groups):
            for other in groups[:number]:
                if any(one.with_choice(two) is not None for one in group for two in other):
                    what = f"{method.name} listens to several that can all come: the first counts, by time"
                    fix = "write join: any in the workflow, or listen to one, or to {and: […]}"
                    self.fault((*method.path, "listen"), what, fix)
                    return list(group)
        return list(dict.fromkeys(path for group in groups for path in group))

    def when(self, method: Method) -> str:
        """The expression that says whether a method runs; "" where its needs already say that."""
        condition = self.condition_of(method)
        names = [condition] if isinstance(condition, str) else as_map(condition).get("or", [{}])
        if condition is None or all(isinstance(one, str) and one in self.methods for one in names):
            return ""  # a step whose needs are all skipped is skipped
        return self.test(condition)

    def test(self, condition: Any) -> str:
        if isinstance(condition, str):
            if condition in self.methods:
                return f"status({self.names.of(condition)}) == 'done'"
            routers = [one for one in self.methods.values() if condition in one.events]
            return " or ".join(f"{self.event_of(one)} == {condition!r}" for one in routers)
        word = "and" if "and" in condition else "or"
        parts = [self.test(one) for one in condition[word]]
        return f" {word} ".join(f"({one})" if " and " in one or " or " in one else one for one in parts)

    def event_of(self, router: Method) -> str:
        """The expression for the event of a router."""
        name = self.names.of(router.name)
        return f"{name}.event" if router.call == "agent" else name

    def output(self) -> Data:
        """The result of the last method that has run, as in CrewAI: of those that nothing listens to, else of a
        router whose event nothing listens to. None, which is all results, where several run last."""
        needed = {source for method in self.methods.values() for source in method.sources}
        last = [method for method in self.methods.values() if method.name not in needed]
        pairs = [(one, two) for number, one in enumerate(last) for two in last[:number]]
        if any(a.with_choice(b) is not None for one, two in pairs for a in one.paths for b in two.paths):
            return None
        routers = [one for one in self.methods.values() if one.events and one.name in needed]
        names = [self.names.of(method.name) for method in last]
        names += [self.event_of(router) for router in reversed(routers)]
        text = names[-1]
        for name in reversed(names[:-1]):
            text = f"{name} if {name} != null else {text}"
        return f"${{{text}}}"

    # Actions -----------------------------------------------------------------------------------------------

    def add(self, method: Method) -> None:
        """The agents of a method: one, or one for each task of a crew."""
        keys: dict[str, Data] = {}
        if method.sources:
            needs = [self.names.of(name) for name in method.sources]
            keys["needs"] = needs[0] if len(needs) == 1 else needs
        if condition := self.when(method):
            keys["when"] = condition
        do, path = as_map(method.data["do"]), (*method.path, "do")
        notes = [f"The method of {self.place(method.path)}."]
        if self.names.of(method.name) != method.name:
            notes = [f"The method {method.name} of {self.place(method.path)}."]
        if method.data.get("description"):
            keys = {"about": str(method.data["description"]).strip(), **keys}
        if method.call == "crew":
            self.crew(method, do, path, keys, notes)
            return
        if method.call == "each":
            keys |= {"each": self.expression(method, do.get("in"), (*path, "in"))}
            steps = do.get("do")
            step = as_map(steps[0]) if isinstance(steps, list) and len(steps) == 1 else {}
            action = as_map(step.get("action"))
            if (
                not action
                or action.get("call") not in ("expression", "agent", "tool")
                or "if" in step
                or "when" in keys
            ):
                what = f"{method.name} runs several steps, or steps with conditions, for each item"
                self.fault(
                    path, what, "write them as a workflow of their own, and name it with workflow: and each:"
                )
                return
            do, path = action, (*path, "do", 0, "action")
        keys |= self.action(method, do, path)
        self.found.agents.append(ImportedAgent(self.names.of(method.name), keys, notes))

    def action(self, method: Method, do: dict[str, Any], path: Path_) -> dict[str, Data]:
        """The keys of an agent that does what an action does."""
        if do.get("call") == "expression":
            text = self.expression(method, do.get("expr"), (*path, "expr"))
            return {"python": VALUE, "with": {"value": f"${{{text}}}"}}
        if do.get("call") == "tool":
            ref = do.get("ref")
            if not isinstance(ref, str) or ":" not in ref:
                self.fault(
                    (*path, "ref"), f"{ref} is an app of CrewAI's platform", "write an agent with mcp: or http:"
                )
            given = {"tool": ref, "arguments": self.rendered(method, do.get("with") or {}, (*path, "with"))}
            return {"python": TOOL, "with": given}
        return self.agent(method, as_map(do.get("with")), (*path, "with"))

    def agent(self, method: Method, data: dict[str, Any], path: Path_) -> dict[str, Data]:
        """The prompt of a single agent. As a router it gives one of its events."""
        part = self.part(f"agent of {method.name}", {**as_map(data.get("settings")), **data}, path)
        keys: dict[str, Data] = {"system": crew_prompts.system_text(part, self.findings, "{{{}}}".format)}
        llm = part.settings.get("llm")
        model = crew_prompts.model_of(llm.value if llm else None, self.models)
        keys |= {"model": model} if model else {}
        keys |= crew_prompts.call_keys(part, self.findings)
        text = data.get("input")
        if not isinstance(text, str):
            self.fault(
                (*path, "input"), f"the input of {method.name} is not text", "a text with ${…} is imported"
            )
        keys["prompt"] = self.rendered(method, text, (*path, "input")) if isinstance(text, str) else ""
        if method.events:
            keys["output"] = {"event": method.events}
        known = {*crew_prompts.AGENT_KEYS, "input", *({"llm"} if model else set())}
        crew_prompts.not_carried(part, known, self.findings, "method")
        return keys

    def part(self, name: str, data: Mapping[str, Any], path: Path_) -> Part:
        """An agent or a task of the file, with the place of each setting."""
        return Part(
            name, self.place(path), {key: Setting(value, self.place((*path, key))) for key, value in data.items()}
        )

    def crew(
        self, method: Method, do: dict[str, Any], path: Path_, keys: dict[str, Data], notes: list[str]
    ) -> None:
        """The agents of an inline crew. The last task has the name of the method: its output is the result."""
        data, at = do.get("with"), (*path, "with")
        if not isinstance(data, dict):
            what = f"the crew of {method.name} is in another file"
            self.fault(path, what, "import it by itself, and name it with workflow: in this one")
            return
        crew = self.read_crew(method, data, at)
        given = {**as_map(data.get("inputs")), **as_map(do.get("inputs"))}

        def fill(name: str) -> Expression:
            if name not in given:
                self.fault(at, f"the crew of {method.name} has no input {name}", likely_fix(name, given))
                return Expression("null")
            value = given[name]
            parts = self.parts(method, value, (*path, "inputs", name)) if isinstance(value, str) else [value]
            if len(parts) == 1 and isinstance(parts[0], Expression):
                return parts[0]
            return Expression(json.dumps(value) if not isinstance(value, str) else _joined(parts))

        check_order(crew, self.findings)
        check_faithful(crew, self.findings)
        self.findings.raise_faults()
        last = crew.tasks[-1].name
        named = {task.name: self.names.of(f"{method.name}_{task.name}") for task in crew.tasks}
        named[last] = self.names.of(method.name)
        agents, shared = crew_agents(crew, named.__getitem__, fill, self.findings, self.models)
        for agent in agents:
            if "needs" not in agent.keys:
                agent.keys = {**keys, **agent.keys}
            if agent.name == named[last]:
                agent.notes = [*notes, *agent.notes]
                agent.keys |= {"output": method.structured} if method.structured else {}
            if agent.shares:  # names of agents differ between crews, those of shared keys may not
                anchor = f"{self.names.of(method.name)}_{agent.shares}"
                self.found.shared[anchor], agent.shares = shared[agent.shares], anchor
        self.found.agents += agents

    def read_crew(self, method: Method, data: dict[str, Any], at: Path_) -> Crew:
        """The crew in an action; the fields of its structured output are noted at the method."""
        agents = {
            name: self.part(name, as_map(one), (*at, "agents", name))
            for name, one in as_map(data.get("agents")).items()
        }
        tasks = data.get("tasks")
        crew = Crew(method.name, self.place(at), [], agents)
        crew.settings = {
            key: Setting(value, self.place((*at, key)))
            for key, value in data.items()
            if key not in ("agents", "tasks", "inputs")
        }
        if not isinstance(tasks, list) or not tasks or not agents:
            self.fault(at, f"the crew of {method.name} has no tasks, or no agents")
            self.findings.raise_faults()
            return crew
        for number, one in enumerate(tasks):
            task, path = as_map(one), (*at, "tasks", number)
            name = str(task.get("name") or f"task_{number + 1}")
            found = CrewTask(self.part(name, task, path))
            found.is_async = crew_prompts.truth(found.part, "async_execution")
            agent, context = task.get("agent"), task.get("context")
            if agent is None and len(agents) == 1:
                found.agent = next(iter(agents.values()))
            elif agent not in agents:
                what = f"the task {name} has the agent {agent}, which the crew does not have"
                self.fault((*path, "agent"), what, likely_fix(str(agent), agents))
            else:
                found.agent = agents[str(agent)]
            if "context" in task:
                found.context = [str(one) for one in context] if isinstance(context, list) else []
            crew.tasks.append(found)
        if len({task.name for task in crew.tasks}) < len(crew.tasks):
            self.fault((*at, "tasks"), f"two tasks of {method.name} have the same name", "rename one")
        last = crew.tasks[-1].part
        for key in ("output_pydantic", "output_json"):
            schema = last.settings[key].value if key in last.settings else None
            properties = as_map(as_map(schema).get("properties"))
            if properties:
                method.structured = {name: _type(spec) for name, spec in properties.items()}
                del last.settings[key]
        self.findings.raise_faults()
        return crew

    # Expressions -------------------------------------------------------------------------------------------

    def expression(self, method: Method, text: Any, path: Path_) -> str:
        """A CEL expression as one of a workflow."""
        if not isinstance(text, str) or not text.strip():
            self.fault(path, f"an expression of {method.name} is missing", "quote it")
            return "null"
        try:
            return translate(text, self.resolver(method))
        except CelError as error:
            self.fault(
                path, f"{text.strip()[:60]}: {error}", "only what means the same here is imported; " + WHOLE
            )
            return "null"

    def parts(self, method: Method, text: str, path: Path_) -> list[str | Expression]:
        try:
            return [part for part in template_parts(text, self.resolver(method)) if part]
        except CelError as error:
            self.fault(
                path, f"{text.strip()[:60]}: {error}", "only what means the same here is imported; " + WHOLE
            )
            return []

    def rendered(self, method: Method, value: Data, path: Path_) -> Data:
        """Plain data in which the expressions of its texts are those of a workflow."""
        if isinstance(value, str):
            return template(self.parts(method, value.strip(), path))
        if isinstance(value, dict):
            return {key: self.rendered(method, item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.rendered(method, item, (*path, number)) for number, item in enumerate(value)]
        return value

    def resolver(self, method: Method) -> Callable[[Sequence[str]], str]:
        """What names in the expressions of a method become."""
        above = graphs.upstream({name: one.sources for name, one in self.methods.items()}, method.name)

        def resolve(names: Sequence[str]) -> str:
            root, *rest = names
            if root == "state" and rest:
                return self.state_field(rest)
            if root == "item" and method.call == "each":
                return ".".join(names)
            if root == "outputs" and rest:
                return self.result(rest, above)
            raise CelError(f"{'.'.join(names)} is not known here")

        return resolve

    def state_field(self, rest: list[str]) -> str:
        if rest[0] not in self.fields:
            if as_map(self.data.get("state")).get("json_schema"):
                raise CelError(f"the state has no {rest[0]}; {likely_fix(rest[0], self.fields)}")
            self.fields[rest[0]] = "any"
            self.found.inputs[self.inputs.of(rest[0])] = "any"
        return ".".join(["inputs", self.inputs.of(rest[0]), *rest[1:]])

    def result(self, rest: list[str], above: set[str]) -> str:
        """The result of a method, of which the outputs of agents and crews have `raw` and others."""
        name, *fields = rest
        other = self.methods.get(name)
        if other is None or name not in above:
            known = [one for one in self.methods if one in above]
            why = "which has not run by then" if other is not None else "which is not a method"
            raise CelError(f"it reads the output of {name}, {why}; {likely_fix(name, known)}")
        ours = self.names.of(name)
        if other.call not in ("agent", "crew"):
            return ".".join([ours, *fields])
        if not fields:
            raise CelError(f"the output of {name} as a whole is an object of CrewAI; write outputs.{name}.raw")
        kind, *more = fields
        if kind == "raw" and not more:
            return self.event_of(other) if other.events else ours
        if kind in ("pydantic", "json_dict") and other.structured:
            return ".".join([ours, *more])
        raise CelError(f"outputs.{name}.{'.'.join(fields)} is known only to code")


def _joined(parts: Sequence[str | Expression]) -> str:
    """An expression that joins texts and values."""
    return " + ".join(f"str({one.text})" if isinstance(one, Expression) else quoted(one) for one in parts) or "''"


def _type(spec: Any) -> Data:
    """The type of a field of an output."""
    given = as_map(spec)
    choices = given.get("enum")
    return choices if isinstance(choices, list) else TYPES.get(str(given.get("type")), "any")
