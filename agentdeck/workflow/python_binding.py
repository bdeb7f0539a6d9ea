"""Finds the function `module:name` of a Python agent, and checks that the workflow gives its parameters."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, NamedTuple

from agentdeck.errors import InvalidFile, Issue, StepError
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import KNOWN_PARAMETERS, Agent, Definition, Python, SubWorkflow
from agentdeck.workflow.wording import kind, likely_fix
from agentdeck.workflow.yaml_source import Path_, Place


def resolve(target: str, folder: Path) -> Any:
    """The object that `module:name` names, looked up with the workflow's folder first on the path, then the
    working folder. Raises StepError of kind `setup`."""
    module_name, _, name = target.partition(":")
    for place in (str(Path.cwd()), str(folder.resolve())):
        if place in sys.path:
            sys.path.remove(place)
        sys.path.insert(0, place)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise StepError(
                "setup", f"there is no module {module_name}; it is looked for in {folder} first"
            ) from None
        raise StepError("setup", f"{module_name} does not import: {error}") from None
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise StepError("setup", f"{module_name} does not import: {type(error).__name__}: {error}") from None
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except Exception:
            names = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise StepError("setup", f"{module_name} has no {name}; {likely_fix(part, names)}") from None
    return found


def check_python(
    definition: Definition,
    folder: Path,
    functions: Mapping[str, Callable[..., Any]],
    positions: Mapping[Path_, Place] = MappingProxyType({}),
    file: str = "<workflow>",
    seen: set[Path] | None = None,
) -> list[Issue]:
    """A fault for every Python agent, those of sub-workflows too, whose module does not import, whose function is
    missing, or takes what the workflow does not give; a warning for what is given and not taken. Sub-workflows
    that were `seen` are left out."""
    issues: list[Issue] = []
    seen = set() if seen is None else seen
    for name, agent in definition.agents.items():
        match agent.does:
            case SubWorkflow(file=below):
                issues += _below(folder / below, str(Path(file).parent / below), seen)
            case Python(target=target):
                place = _Place(agent, positions, file)
                try:
                    # stdout is for data: what a module prints on import is none.
                    with redirect_stdout(sys.stderr):
                        function = functions[name] if name in functions else resolve(target, folder)
                except StepError as error:
                    what, _, fix = str(error).partition("; ")
                    issues.append(place.issue(what, fix))
                else:
                    issues += _call(agent, target, function, definition, place)
    return issues


def _below(path: Path, shown: str, seen: set[Path]) -> list[Issue]:
    """The same for a sub-workflow, once for all agents that use it."""
    resolved = path.resolve()
    if resolved in seen:
        return []
    seen.add(resolved)
    try:
        inner = load(path, shown)
    except InvalidFile as error:
        return list(error.issues)
    folder = inner.definition.folder or resolved.parent
    return check_python(inner.definition, folder, inner.functions, inner.positions, shown, seen)


class _Place(NamedTuple):
    """The position of an agent in its file."""

    agent: Agent
    positions: Mapping[Path_, Place]
    file: str

    def issue(self, what: str, fix: str, *key: str, warning: bool = False) -> Issue:
        line, column = self.positions.get(("agents", self.agent.name, *(key or ("python",))), (0, 0))
        return Issue(self.file, line, column, what if line else f"{self.agent.name}: {what}", fix, warning)


def _call(agent: Agent, target: str, function: Any, definition: Definition, place: _Place) -> list[Issue]:
    """Whether a function can be called with what the workflow gives. Objects of frameworks take everything."""
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        plain = isinstance(function, NoneType | bool | int | float | str | list | dict | tuple)
        return [place.issue(f"{target} is {kind(function)}, not a function", "")] if plain else []
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
        what = f"{target} takes {', '.join(unknown)}, which is no input, no need and not in with"
        issues.append(place.issue(what, fix))
    if all(p.kind is not p.VAR_KEYWORD for p in parameters):
        names = [p.name for p in free]
        for key in agent.with_:
            if key not in names:
                fix = likely_fix(key, names)
                issues.append(place.issue(f"{target} does not take {key}", fix, "with", key, warning=True))
    return issues
