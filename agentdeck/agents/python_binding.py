"""Checks that a workflow gives the parameters of the function that a Python agent names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

from agentdeck.agents.frameworks.known import framework_of
from agentdeck.agents.parameters import annotations_of
from agentdeck.agents.python import Python
from agentdeck.errors import Issue, StepError
from agentdeck.workflow.agent_kind import AgentWithCode
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.model import KNOWN_PARAMETERS
from agentdeck.workflow.wording import kind, likely_fix


def check_python(agent: AgentWithCode) -> Iterator[Issue]:
    """A fault where the module does not import, or the function is missing or takes what the workflow does not
    give; a warning for what is given and not taken."""
    does, function = agent.agent.does, agent.function
    assert isinstance(does, Python)
    target = does.target
    try:
        if function is None:
            # stdout is for data: what a module prints on import is none.
            with redirect_stdout(sys.stderr):
                function = resolve(target, agent.folder)
    except StepError as error:
        what, _, fix = str(error).partition("; ")
        yield agent.issue(what, fix)
    else:
        yield from _call(agent, target, function)


def _call(place: AgentWithCode, target: str, function: Any) -> list[Issue]:
    """Whether a function can be called with what the workflow gives. Objects of frameworks take everything."""
    agent, definition = place.agent, place.definition
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        try:
            framework_of(function)
        except TypeError:
            fix = "name a function, a class, or an object of a framework that is listed by: agentdeck plugins"
            return [place.issue(f"{target} is {kind(function)}, not a function", fix)]
        return []
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    known = {*KNOWN_PARAMETERS, *agent.with_, *definition.inputs, *agent.needs}
    free = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    issues = []
    unknown = [p.name for p in free if p.name not in known and p.default is p.empty]
    if unknown:
        first = unknown[0]
        fix = f"add {first} to its needs" if first in definition.agents else likely_fix(first, sorted(known))
        what = f"{target} takes {', '.join(unknown)}, which is neither an input nor a need nor in `with`"
        issues.append(place.issue(what, fix))
    for name, why in annotations_of(function).unresolved.items():
        what = f"the type of {name} is not known, so it is not checked: {why}"
        issues.append(place.issue(what, "import it, or leave the annotation out", warning=True))
    # A function without parameters may make an object of a framework, which takes all of `with`.
    if parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters):
        names = [p.name for p in free]
        for key in agent.with_:
            if key not in names:
                fix = likely_fix(key, names)
                issues.append(place.issue(f"{target} has no parameter {key}", fix, "with", key, warning=True))
    return issues
