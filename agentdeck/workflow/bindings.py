"""Python agents: finding `module:name`, and checking that it can be called with what the workflow gives."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agentdeck.errors import Issue, StepError
from agentdeck.workflow.model import Agent, Definition, Python
from agentdeck.workflow.shape import meant
from agentdeck.workflow.source import Path_, Place

#: Parameters that mean something whatever the workflow.
GIVEN = frozenset({"ctx", "item", "previous", "needs", "inputs"})


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
        if not hasattr(found, part):
            names = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise StepError("setup", f"{module_name} has no {name}; {meant(part, names)}")
        found = getattr(found, part)
    return found


def check_python(
    definition: Definition,
    folder: Path,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    positions: Mapping[Path_, Place] | None = None,
    file: str = "",
) -> list[Issue]:
    """A fault for every Python agent whose module does not import, whose function is missing, or takes what the
    workflow does not give."""
    issues = []
    for name, agent in definition.agents.items():
        if not isinstance(agent.does, Python):
            continue
        try:
            found = (functions or {}).get(name) or resolve(agent.does.target, folder)
        except StepError as error:
            issues.append(_issue(agent, str(error), positions, file))
            continue
        if not callable(found):
            continue
        known = {*GIVEN, *agent.with_, *definition.inputs, *agent.needs}
        try:
            parameters = inspect.signature(found).parameters.values()
        except (TypeError, ValueError):
            continue
        unknown = [
            p.name
            for p in parameters
            if p.name not in known
            and p.default is p.empty
            and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
            and (inspect.isroutine(found) or inspect.isclass(found))
        ]
        if unknown:
            what = f"{agent.does.target} takes {', '.join(unknown)}, which is no input, no need and not in with"
            issues.append(_issue(agent, f"{what}; {meant(unknown[0], known)}", positions, file))
    return issues


def _issue(agent: Agent, text: str, positions: Mapping[Path_, Place] | None, file: str) -> Issue:
    place = (positions or {}).get(("agents", agent.name, "python"), (0, 0))
    what, _, fix = text.partition("; ")
    return Issue(file or "<workflow>", *place, what if place != (0, 0) else f"{agent.name}: {what}", fix)
