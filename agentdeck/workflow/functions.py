"""Functions and other objects that a workflow names as `module:name`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from agentdeck.errors import StepError
from agentdeck.workflow.wording import likely_fix

#: The notation, as a regular expression.
TARGET = r"[\w.]+:[\w.<>]+"
#: Modules of frameworks that agentdeck calls, and the extra that installs them.
EXTRAS = {
    "agent_framework": "agent-framework",
    "agents": "openai-agents",
    "autogen_agentchat": "autogen",
    "autogen_core": "autogen",
    "langchain_core": "langchain",
    "langgraph": "langgraph",
    "pydantic_ai": "pydantic-ai",
    "semantic_kernel": "semantic-kernel",
}


def check_target(text: str) -> None:
    """Raises ValueError for another notation."""
    if not re.fullmatch(TARGET, text):
        raise ValueError(f"{text!r} is not module:name; write it like shop.tools:extract")


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
        fix = _installation(error.name or "")
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            fix = fix or f"{folder} is searched first"
            raise StepError("setup", f"there is no module {module_name}; {fix}") from None
        what = f"{module_name} cannot be imported: {error}"
        raise StepError("setup", f"{what}; {fix}" if fix else what) from None
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise StepError("setup", f"{module_name} cannot be imported: {type(error).__name__}: {error}") from None
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except Exception:
            names = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise StepError("setup", f"{module_name} has no {name}; {likely_fix(part, names)}") from None
    return found


def _installation(module: str) -> str:
    """How to install the framework to which a missing module belongs; empty for other modules."""
    package = module.partition(".")[0]
    if package == "crewai":
        return "CrewAI needs an interpreter of its own: a place of type process"
    return f"pip install 'agentdeck[{EXTRAS[package]}]'" if package in EXTRAS else ""


def file_of(function: Any) -> Path | None:
    """The file of a function's source; None where it has none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except (TypeError, ValueError):
        return None
    return Path(file).resolve() if file else None


def module_file(target: str, folder: Path) -> Path | None:
    """The file of `module:name`: of the imported module, else of the one that an import would find."""
    name = target.partition(":")[0]
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(loaded, str):
        return Path(loaded).resolve()
    for place in (folder, Path.cwd()):
        stem = place.joinpath(*name.split("."))
        for path in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None
