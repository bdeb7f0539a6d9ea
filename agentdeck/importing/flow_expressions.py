"""The expressions and templates of a CrewAI flow, as those of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agentdeck.importing.cel import CelError, template_parts, translate
from agentdeck.importing.flow_file import WHOLE, FlowFile, Method
from agentdeck.importing.imported import Expression, template
from agentdeck.workflow import graph as graphs
from agentdeck.workflow.model import Data
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import Path_, as_map


class FlowExpressions:
    def __init__(self, flow: FlowFile) -> None:
        self.flow = flow

    def expression(self, method: Method, text: Any, path: Path_) -> str:
        """A CEL expression as one of a workflow."""
        if not isinstance(text, str) or not text.strip():
            self.flow.fault(path, f"an expression of {method.name} is missing", "quote it")
            return "null"
        try:
            return translate(text, self._resolver(method))
        except CelError as error:
            self.flow.fault(
                path, f"{text.strip()[:60]}: {error}", "only what means the same here is imported; " + WHOLE
            )
            return "null"

    def parts(self, method: Method, text: str, path: Path_) -> list[str | Expression]:
        try:
            return [part for part in template_parts(text, self._resolver(method)) if part]
        except CelError as error:
            self.flow.fault(
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

    def _resolver(self, method: Method) -> Callable[[Sequence[str]], str]:
        """What names in the expressions of a method become."""
        above = graphs.upstream({name: one.sources for name, one in self.flow.methods.items()}, method.name)

        def resolve(names: Sequence[str]) -> str:
            root, *rest = names
            if root == "state" and rest:
                return self._state_field(rest)
            if root == "item" and method.call == "each":
                return ".".join(names)
            if root == "outputs" and rest:
                return self._result(rest, above)
            raise CelError(f"{'.'.join(names)} is not known here")

        return resolve

    def _state_field(self, rest: list[str]) -> str:
        declared = self.flow.fields
        if rest[0] not in declared and as_map(self.flow.data.get("state")).get("json_schema"):
            raise CelError(f"the state has no {rest[0]}; {likely_fix(rest[0], declared)}")
        return ".".join(["inputs", self.flow.input_of(rest[0]), *rest[1:]])

    def _result(self, rest: list[str], above: set[str]) -> str:
        """The result of a method, of which the outputs of agents and crews have `raw` and others."""
        name, *fields = rest
        other = self.flow.methods.get(name)
        if other is None or name not in above:
            known = [one for one in self.flow.methods if one in above]
            why = "which has not run by then" if other is not None else "which is not a method"
            raise CelError(f"it reads the output of {name}, {why}; {likely_fix(name, known)}")
        ours = self.flow.names.of(name)
        if other.call not in ("agent", "crew"):
            return ".".join([ours, *fields])
        if not fields:
            raise CelError(f"the output of {name} as a whole is an object of CrewAI; write outputs.{name}.raw")
        kind, *more = fields
        if kind == "raw" and not more:
            return self.flow.event_of(other) if other.events else ours
        if kind in ("pydantic", "json_dict") and other.structured:
            return ".".join([ours, *more])
        raise CelError(f"outputs.{name}.{'.'.join(fields)} is known only to code")
