"""`import flow`: a declarative flow of CrewAI (`crewai.flow/v1`) as a workflow.

A method runs when the method or the event that it listens to has come. A router's result is such an event. As in
CrewAI 1.15, the state of a flow is its input (only code changes it, and such methods are refused), `and` waits
for all, and of `or` the first counts and the others are cancelled, so only alternatives that exclude each other
are imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentdeck.importing import crew_prompts
from agentdeck.importing.flow_crew import FlowCrews
from agentdeck.importing.flow_expressions import FlowExpressions
from agentdeck.importing.flow_file import FlowFile, Method
from agentdeck.importing.flow_links import FlowLinks
from agentdeck.importing.imported import Findings, ImportedAgent, ImportedWorkflow
from agentdeck.workflow import graph as graphs
from agentdeck.workflow.model import Data
from agentdeck.workflow.yaml_source import Path_, as_map, read_file, refusal

SCHEMA = "crewai.flow/v1"
VALUE = "agentdeck.importing.flow_step:value"
TOOL = "agentdeck.importing.flow_step:tool"


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
    return _Flow(FlowFile(source, source.data, findings, models)).workflow(), findings


class _Flow:
    """The import of one file."""

    def __init__(self, flow: FlowFile) -> None:
        self.flow = flow
        self.found = ImportedWorkflow(str(flow.data.get("name") or "flow"))
        self.links = FlowLinks(flow)
        self.expressions = FlowExpressions(flow)
        self.crews = FlowCrews(flow, self.expressions)

    def workflow(self) -> ImportedWorkflow:
        self.found.about = str(self.flow.data.get("description") or "").strip()
        self.found.notes = [f"The CrewAI flow {self.found.name}, imported from {self.flow.source.file}.", ""]
        self.found.notes += [
            "Its state is the input of the workflow. A method listens to the results of others: needs,"
        ]
        self.found.notes += ["and when, where a router chooses."]
        for key in self.flow.data.keys() - {"schema", "name", "description", "state", "methods", "config"}:
            if self.flow.data[key] not in (None, False, {}, []):
                self.flow.findings.warn(self.flow.place((key,)), f"{key} of the flow is not carried over")
        order = graphs.order({name: method.sources for name, method in self.flow.methods.items()})
        for name in order:
            self._add(self.flow.methods[name])
        self.flow.findings.raise_faults()
        self.found.inputs = self.flow.inputs
        self.found.output = self.links.output()
        return self.found

    def _add(self, method: Method) -> None:
        """The agents of a method: one, or one for each task of a crew."""
        keys: dict[str, Data] = {}
        if method.sources:
            needs = [self.flow.names.of(name) for name in method.sources]
            keys["needs"] = needs[0] if len(needs) == 1 else needs
        if condition := self.links.when(method):
            keys["when"] = condition
        do, path = as_map(method.data["do"]), (*method.path, "do")
        notes = [f"The method of {self.flow.place(method.path)}."]
        if self.flow.names.of(method.name) != method.name:
            notes = [f"The method {method.name} of {self.flow.place(method.path)}."]
        if method.data.get("description"):
            keys = {"about": str(method.data["description"]).strip(), **keys}
        if method.call == "crew":
            self.crews.add(self.found, method, do, path, keys, notes)
            return
        if method.call == "each":
            keys |= {"each": self.expressions.expression(method, do.get("in"), (*path, "in"))}
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
                self.flow.fault(
                    path, what, "write them as a workflow of their own, and name it with workflow: and each:"
                )
                return
            do, path = action, (*path, "do", 0, "action")
        keys |= self._action(method, do, path)
        self.found.agents.append(ImportedAgent(self.flow.names.of(method.name), keys, notes))

    def _action(self, method: Method, do: dict[str, Any], path: Path_) -> dict[str, Data]:
        """The keys of an agent that does what an action does."""
        if do.get("call") == "expression":
            text = self.expressions.expression(method, do.get("expr"), (*path, "expr"))
            return {"python": VALUE, "with": {"value": f"${{{text}}}"}}
        if do.get("call") == "tool":
            ref = do.get("ref")
            if not isinstance(ref, str) or ":" not in ref:
                self.flow.fault(
                    (*path, "ref"), f"{ref} is an app of CrewAI's platform", "write an agent with mcp: or http:"
                )
            given = {
                "tool": ref,
                "arguments": self.expressions.rendered(method, do.get("with") or {}, (*path, "with")),
            }
            return {"python": TOOL, "with": given}
        return self._agent(method, as_map(do.get("with")), (*path, "with"))

    def _agent(self, method: Method, data: dict[str, Any], path: Path_) -> dict[str, Data]:
        """The prompt of a single agent. As a router it gives one of its events."""
        part = self.flow.part(f"agent of {method.name}", {**as_map(data.get("settings")), **data}, path)
        keys: dict[str, Data] = {"system": crew_prompts.system_text(part, self.flow.findings, "{{{}}}".format)}
        llm = part.settings.get("llm")
        model = crew_prompts.model_of(llm.value if llm else None, self.flow.models)
        keys |= {"model": model} if model else {}
        keys |= crew_prompts.call_keys(part, self.flow.findings)
        text = data.get("input")
        if not isinstance(text, str):
            self.flow.fault(
                (*path, "input"), f"the input of {method.name} is not text", "a text with ${…} is imported"
            )
        keys["prompt"] = (
            self.expressions.rendered(method, text, (*path, "input")) if isinstance(text, str) else ""
        )
        if method.events:
            keys["output"] = {"event": method.events}
        known = {*crew_prompts.AGENT_KEYS, "input", *({"llm"} if model else set())}
        crew_prompts.not_carried(part, known, self.flow.findings, "method")
        return keys
