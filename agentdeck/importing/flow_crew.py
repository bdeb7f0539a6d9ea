"""The crews that are written in a CrewAI flow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentdeck.importing import crew_prompts
from agentdeck.importing.crew import Crew, CrewTask, check_order
from agentdeck.importing.crew_code import Setting
from agentdeck.importing.crew_workflow import check_faithful, crew_agents
from agentdeck.importing.flow_expressions import FlowExpressions
from agentdeck.importing.flow_file import TYPES, FlowFile, Method
from agentdeck.importing.imported import Expression, ImportedWorkflow, quoted
from agentdeck.workflow.model import Data
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import Path_, as_map


class FlowCrews:
    def __init__(self, flow: FlowFile, expressions: FlowExpressions) -> None:
        self.flow = flow
        self.expressions = expressions

    def add(
        self,
        found: ImportedWorkflow,
        method: Method,
        do: dict[str, Any],
        path: Path_,
        keys: dict[str, Data],
        notes: list[str],
    ) -> None:
        """Add the agents of an inline crew to a workflow. The last task has the name of the method: its output is
        the result."""
        data, at = do.get("with"), (*path, "with")
        if not isinstance(data, dict):
            what = f"the crew of {method.name} is in another file"
            self.flow.fault(path, what, "import it by itself, and name it with workflow: in this one")
            return
        crew = self._read(method, data, at)
        given = {**as_map(data.get("inputs")), **as_map(do.get("inputs"))}

        def fill(name: str) -> Expression:
            if name not in given:
                self.flow.fault(at, f"the crew of {method.name} has no input {name}", likely_fix(name, given))
                return Expression("null")
            value = given[name]
            parts = (
                self.expressions.parts(method, value, (*path, "inputs", name))
                if isinstance(value, str)
                else [value]
            )
            if len(parts) == 1 and isinstance(parts[0], Expression):
                return parts[0]
            return Expression(json.dumps(value) if not isinstance(value, str) else _joined(parts))

        check_order(crew, self.flow.findings)
        check_faithful(crew, self.flow.findings)
        self.flow.findings.raise_faults()
        last = crew.tasks[-1].name
        named = {task.name: self.flow.names.of(f"{method.name}_{task.name}") for task in crew.tasks}
        named[last] = self.flow.names.of(method.name)
        agents, shared = crew_agents(crew, named.__getitem__, fill, self.flow.findings, self.flow.models)
        for agent in agents:
            if "needs" not in agent.keys:
                agent.keys = {**keys, **agent.keys}
            if agent.name == named[last]:
                agent.notes = [*notes, *agent.notes]
                agent.keys |= {"output": method.structured} if method.structured else {}
            if agent.shares:  # names of agents differ between crews, those of shared keys may not
                anchor = f"{self.flow.names.of(method.name)}_{agent.shares}"
                found.shared[anchor], agent.shares = shared[agent.shares], anchor
        found.agents += agents

    def _read(self, method: Method, data: dict[str, Any], at: Path_) -> Crew:
        """The crew in an action; the fields of its structured output are noted at the method."""
        agents = {
            name: self.flow.part(name, as_map(one), (*at, "agents", name))
            for name, one in as_map(data.get("agents")).items()
        }
        tasks = data.get("tasks")
        crew = Crew(method.name, self.flow.place(at), [], agents)
        crew.settings = {
            key: Setting(value, self.flow.place((*at, key)))
            for key, value in data.items()
            if key not in ("agents", "tasks", "inputs")
        }
        if not isinstance(tasks, list) or not tasks or not agents:
            self.flow.fault(at, f"the crew of {method.name} has no tasks, or no agents")
            self.flow.findings.raise_faults()
            return crew
        for number, one in enumerate(tasks):
            task, path = as_map(one), (*at, "tasks", number)
            name = str(task.get("name") or f"task_{number + 1}")
            found = CrewTask(self.flow.part(name, task, path))
            found.is_async = crew_prompts.truth(found.part, "async_execution")
            agent, context = task.get("agent"), task.get("context")
            if agent is None and len(agents) == 1:
                found.agent = next(iter(agents.values()))
            elif agent not in agents:
                what = f"the task {name} has the agent {agent}, which the crew does not have"
                self.flow.fault((*path, "agent"), what, likely_fix(str(agent), agents))
            else:
                found.agent = agents[str(agent)]
            if "context" in task:
                found.context = [str(one) for one in context] if isinstance(context, list) else []
            crew.tasks.append(found)
        if len({task.name for task in crew.tasks}) < len(crew.tasks):
            self.flow.fault((*at, "tasks"), f"two tasks of {method.name} have the same name", "rename one")
        last = crew.tasks[-1].part
        for key in ("output_pydantic", "output_json"):
            schema = last.settings[key].value if key in last.settings else None
            properties = as_map(as_map(schema).get("properties"))
            if properties:
                method.structured = {name: _type(spec) for name, spec in properties.items()}
                del last.settings[key]
        self.flow.findings.raise_faults()
        return crew


def _joined(parts: Sequence[str | Expression]) -> str:
    """An expression that joins texts and values."""
    return " + ".join(f"str({one.text})" if isinstance(one, Expression) else quoted(one) for one in parts) or "''"


def _type(spec: Any) -> Data:
    """The type of a field of an output."""
    given = as_map(spec)
    choices = given.get("enum")
    return choices if isinstance(choices, list) else TYPES.get(str(given.get("type")), "any")
