"""Agent kinds of plugins: a method that fails, or returns what its callers cannot use, is reported with the
plugin's name, and nothing else is disturbed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from agentdeck.errors import Issue, described
from agentdeck.plugins import PLUGIN_ERRORS, PluginError, installed
from agentdeck.workflow.agent_kind import AgentInFile, AgentKind, AgentWithCode, Fill
from agentdeck.workflow.expressions import Expression
from agentdeck.workflow.model import Agent, Data, Work, plain
from agentdeck.workflow.references import Found
from agentdeck.workflow.yaml_source import Path_

T = TypeVar("T")


def guarded(found: type[AgentKind]) -> AgentKind:
    """The kind of a plugin. Its class is derived from the plugin's own, so all that is not guarded stays."""
    kind: AgentKind = type(found.__name__, (GuardedKind, found), {"__module__": found.__module__})()
    return kind


class GuardedKind(AgentKind):
    """Calls the methods of a plugin's class, which comes after this one in the order of bases."""

    @cached_property
    def plugin(self) -> str:
        """The package that the kind comes from."""
        one = next((one for one in installed("agents") if one.name == self.verb), None)
        return self.verb if one is None else f"{one.package} {one.version}"

    def failed(self, name: str, error: BaseException) -> str:
        """What failed, for the author of a file."""
        return f"the kind {self.verb} of {self.plugin} failed in {name}: {described(error)}"

    def _text(self, call: Callable[[], object]) -> str:
        """A text for people; it says so where the plugin cannot give it."""
        try:
            return _checked(call(), str)
        except PLUGIN_ERRORS as error:
            return f"(not known: {self.plugin} failed: {described(error)})"

    # In the file -----------------------------------------------------------------------------------------

    def make(self, given: Mapping[str, Any]) -> Work:
        made = _checked(super().make(given), self.work)
        check_work(made)
        return made

    def expressions(self, given: Mapping[str, Any], path: Path_) -> Iterator[Found]:
        try:
            found = list(super().expressions(given, path))
            for expressions, place in found:
                _checked(place, tuple)
                for one in expressions:
                    _checked(one, Expression)
        except PLUGIN_ERRORS as error:
            raise PluginError(f"{path[1]}: {self.failed('expressions', error)}") from error
        yield from found

    def check(self, agent: AgentInFile) -> None:
        try:
            super().check(agent)
        except PLUGIN_ERRORS as error:
            agent.fault((self.verb,), f"{agent.name}: {self.failed('check', error)}")

    def warn(self, agent: AgentInFile) -> None:
        try:
            super().warn(agent)
        except PLUGIN_ERRORS as error:
            agent.fault((self.verb,), f"{agent.name}: {self.failed('warn', error)}", warning=True)

    def chooses(self, given: Mapping[str, Any]) -> Mapping[str, str]:
        try:
            return dict(super().chooses(given))
        except PLUGIN_ERRORS as error:
            raise PluginError(self.failed("chooses", error)) from error

    def check_code(self, agent: AgentWithCode) -> Iterator[Issue]:
        try:
            issues = [_checked(issue, Issue) for issue in super().check_code(agent)]
        except PLUGIN_ERRORS as error:
            issues = [agent.issue(f"{agent.agent.name}: {self.failed('check_code', error)}", "")]
        yield from issues

    # In plans and on screens -----------------------------------------------------------------------------

    def target(self, agent: Agent) -> str:
        return self._text(lambda: super(GuardedKind, self).target(agent))

    def label(self, agent: Agent) -> str:
        try:
            return _checked(super().label(agent), str)
        except PLUGIN_ERRORS:  # the graph has no space for the reason
            return self.verb

    def described(self, agent: Agent) -> str:
        return self._text(lambda: super(GuardedKind, self).described(agent))

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        try:
            parts = dict(super().asked(agent, fill))
            json.dumps(parts)  # it is shown as data
        except PLUGIN_ERRORS as error:
            return {self.verb: f"(not known: {self.plugin} failed: {described(error)})"}
        return parts

    def files(self, agent: Agent, folder: Path, function: Any) -> Iterator[tuple[Path, str]]:
        try:
            found = [
                (_checked(path, Path), _checked(kind, str))
                for path, kind in super().files(agent, folder, function)
            ]
        except PLUGIN_ERRORS as error:
            raise PluginError(f"{agent.name}: {self.failed('files', error)}") from error
        yield from found


def check_work(work: Work) -> None:
    """Raise for a work that the scheduler cannot use, or that cannot be recorded."""
    seconds: Any = work.seconds()
    if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):
        raise TypeError(f"seconds() of its work returned {seconds!r:.60}, not a number of seconds")
    expressions: Iterable[Any] = _checked(work.expressions(), tuple)
    for text in expressions:
        _checked(text, str)
    json.dumps((plain(work), plain(work.templates())))


def _checked(value: Any, kind: type[T]) -> T:
    """The value. Raises TypeError for one of another type."""
    if not isinstance(value, kind):
        raise TypeError(f"it returned {type(value).__name__}, not {kind.__name__}")
    return value
