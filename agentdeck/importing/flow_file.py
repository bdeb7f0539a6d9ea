"""A flow file of CrewAI as it is written: its state, its methods, the places of its faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentdeck.importing.crew_code import Part, Setting
from agentdeck.importing.imported import Findings, Names, Place
from agentdeck.importing.state_graph import GraphPath
from agentdeck.workflow.model import KNOWN_PARAMETERS, Data
from agentdeck.workflow.wording import did_you_mean
from agentdeck.workflow.yaml_source import Path_, Source, as_map

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


class FlowFile:
    """The parts of one file. `inputs` are those of the workflow, made of the state; `names` are those of its
    agents."""

    def __init__(
        self, source: Source, data: dict[str, Any], findings: Findings, models: Mapping[str, str]
    ) -> None:
        from agentdeck.workflow.workflow_file import RESERVED_NAMES

        self.source, self.data, self.findings, self.models = source, data, findings, models
        self.names, self._input_names = Names(RESERVED_NAMES), Names(KNOWN_PARAMETERS)
        self.methods: dict[str, Method] = {}
        self.fields: dict[str, Data] = {}
        self.inputs: dict[str, Data] = {}
        self._read_state()
        self._read_methods()
        findings.raise_faults()

    def place(self, path: Path_) -> Place:
        return Place(self.source.file, *self.source.place(path))

    def fault(self, path: Path_, what: str, fix: str = "") -> None:
        self.findings.fault(self.place(path), what, fix)

    def part(self, name: str, data: Mapping[str, Any], path: Path_) -> Part:
        """An agent or a task of the file, with the place of each setting."""
        return Part(
            name, self.place(path), {key: Setting(value, self.place((*path, key))) for key, value in data.items()}
        )

    def condition_of(self, method: Method) -> Any:
        """What a method listens to; None where it starts by itself."""
        start = method.data.get("start")
        if start is True or (isinstance(start, str) and start.lower() == "true"):
            return None
        return method.data.get("listen") if method.data.get("listen") is not None else start or None

    def event_of(self, router: Method) -> str:
        """The expression for the event of a router."""
        name = self.names.of(router.name)
        return f"{name}.event" if router.call == "agent" else name

    def input_of(self, field: str) -> str:
        """The input that a field of the state becomes. One that the file does not declare is of any type."""
        name = self._input_names.of(field)
        if field not in self.fields:
            self.fields[field] = self.inputs[name] = "any"
        return name

    def _read_state(self) -> None:
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
            self.inputs[self._input_names.of(name)] = spec

    def _read_methods(self) -> None:
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
